//! What can be chosen of TCP alone.

use raft_transport::SetupError;

/// The limits of TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpLimits {
    /// The size of each socket's buffers, for sending and for receiving, in bytes; 4 KiB or more. None leaves them to the
    /// system, which lets them grow with the path up to its own limit. Default: none.
    pub socket_buffer_bytes: Option<u32>,
}

/// Less than this no system grants.
const SOCKET_BUFFER_BYTES_MIN: u32 = 4 * 1024;

impl TcpLimits {
    pub(crate) fn validate(&self) -> Result<(), SetupError> {
        match self.socket_buffer_bytes {
            Some(bytes) if bytes < SOCKET_BUFFER_BYTES_MIN => Err(SetupError::Option {
                name: "socket_buffer_bytes",
                value: bytes.to_string(),
                remedy: "give at least 4 KiB, or none to leave it to the system",
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_no_system_grants_is_refused() {
        let of = |socket_buffer_bytes| TcpLimits { socket_buffer_bytes };
        of(None).validate().unwrap();
        of(Some(SOCKET_BUFFER_BYTES_MIN)).validate().unwrap();
        let message = of(Some(SOCKET_BUFFER_BYTES_MIN - 1))
            .validate()
            .unwrap_err()
            .to_string();
        assert!(message.contains("socket_buffer_bytes is 4095"), "{message}");
    }
}
