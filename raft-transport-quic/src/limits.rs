//! What can be chosen of QUIC alone.

use raft_transport::{SetupError, TransportLimits};

const MIB: usize = 1024 * 1024;
/// The largest window that can be chosen, in bytes.
const WINDOW_BYTES_MAX: usize = 1 << 30;
/// What every path carries, in bytes (RFC 9000, section 14).
const DATAGRAM_BYTES_MIN: u16 = 1_200;

/// The limits of QUIC. The defaults suit a local network; the table in the crate's documentation says what happens at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicLimits {
    /// The size of the socket's buffers, for sending and for receiving; the system may grant less.
    /// Default: 4 MiB, with which bulk over loopback loses nothing.
    pub socket_buffer_bytes: usize,
    /// How much of one stream may be under way, unread. Default: 2 MiB.
    pub stream_window_bytes: usize,
    /// The largest datagram that path discovery may try; connections begin with 1,200. Default: 1,452.
    pub datagram_bytes_max: u16,
}

impl Default for QuicLimits {
    fn default() -> QuicLimits {
        QuicLimits {
            socket_buffer_bytes: 4 * MIB,
            stream_window_bytes: 2 * MIB,
            datagram_bytes_max: 1_452,
        }
    }
}

impl QuicLimits {
    pub(crate) fn validate(&self) -> Result<(), SetupError> {
        let refuse = |name, value: usize, remedy| {
            Err(SetupError::Option {
                name,
                value: value.to_string(),
                remedy,
            })
        };
        if self.socket_buffer_bytes == 0 {
            return refuse("socket_buffer_bytes", 0, "give at least 1");
        }
        if !(1..=WINDOW_BYTES_MAX).contains(&self.stream_window_bytes) {
            return refuse(
                "stream_window_bytes",
                self.stream_window_bytes,
                "give 1 byte to 1 GiB",
            );
        }
        if self.datagram_bytes_max < DATAGRAM_BYTES_MIN {
            let given = usize::from(self.datagram_bytes_max);
            return refuse("datagram_bytes_max", given, "QUIC needs 1,200");
        }
        Ok(())
    }

    /// What all streams of a connection may have under way: enough that stalled snapshots never hold up messages.
    pub(crate) fn connection_window_bytes(&self, limits: &TransportLimits) -> u64 {
        let streams = limits.snapshot_streams_max() + crate::carrier::LANES;
        (self.stream_window_bytes as u64) * (streams as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_out_of_its_range_is_named() {
        QuicLimits::default().validate().unwrap();
        let default = QuicLimits::default;
        let wrong = [
            (
                "socket_buffer_bytes",
                QuicLimits {
                    socket_buffer_bytes: 0,
                    ..default()
                },
            ),
            (
                "stream_window_bytes",
                QuicLimits {
                    stream_window_bytes: 0,
                    ..default()
                },
            ),
            (
                "stream_window_bytes",
                QuicLimits {
                    stream_window_bytes: 2 << 30,
                    ..default()
                },
            ),
            (
                "datagram_bytes_max",
                QuicLimits {
                    datagram_bytes_max: 1_199,
                    ..default()
                },
            ),
        ];
        for (name, limits) in wrong {
            let message = limits.validate().unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
