//! Single puts and gets, for people without etcdctl.

use std::time::Duration;

use bytes::Bytes;

use super::endpoints::{Endpoint, first_answer};
use super::error::ClientError;
use crate::proto::etcdserverpb::kv_client::KvClient;
use crate::proto::etcdserverpb::{PutRequest, RangeRequest};
use crate::proto::mvccpb::KeyValue;

/// Writes `value` under `key` and returns the revision of the write.
pub async fn put(
    endpoints: &[Endpoint],
    key: Vec<u8>,
    value: Vec<u8>,
    timeout: Duration,
) -> Result<i64, ClientError> {
    let request = PutRequest {
        key: key.into(),
        value: value.into(),
        ..PutRequest::default()
    };
    let response = first_answer(endpoints, timeout, |channel| {
        let request = request.clone();
        async move { KvClient::new(channel).put(request).await }
    })
    .await?;
    Ok(response.header.map_or(0, |header| header.revision))
}

/// What to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One key.
    pub key: Vec<u8>,
    /// Every key that begins with it as well.
    pub prefix: bool,
    /// As the node that answers has it, which may be behind, instead of as the newest acknowledged write left it.
    pub serializable: bool,
}

/// Reads what is `wanted`.
pub async fn get(
    endpoints: &[Endpoint],
    wanted: Wanted,
    timeout: Duration,
) -> Result<Vec<KeyValue>, ClientError> {
    let request = range_request(wanted);
    let response = first_answer(endpoints, timeout, |channel| {
        let request = request.clone();
        async move {
            let mut client = KvClient::new(channel).max_decoding_message_size(usize::MAX);
            client.range(request).await
        }
    })
    .await?;
    Ok(response.kvs)
}

fn range_request(wanted: Wanted) -> RangeRequest {
    let Wanted {
        key,
        prefix,
        serializable,
    } = wanted;
    let (key, range_end) = match (prefix, key.is_empty()) {
        (false, _) => (key, Vec::new()),
        // Every key begins with nothing; one zero byte on both sides means all.
        (true, true) => (vec![0], vec![0]),
        (true, false) => {
            let end = prefix_end(&key);
            (key, end)
        }
    };
    RangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        serializable,
        ..RangeRequest::default()
    }
}

/// The first key after all those that begin with `prefix`; one zero byte, which means no end, if there is none.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// The key right after `key`, so that a range ends with `key`.
pub(super) fn key_after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(prefix_end(b"ab"), b"ac");
        assert_eq!(prefix_end(&[b'a', 0xff]), b"b");
        assert_eq!(prefix_end(&[0xff, 0xff]), [0]);
        let all = range_request(Wanted {
            prefix: true,
            ..Wanted::default()
        });
        assert_eq!((&all.key[..], &all.range_end[..]), (&[0][..], &[0][..]));
        let one = range_request(Wanted {
            key: b"a".to_vec(),
            serializable: true,
            ..Wanted::default()
        });
        assert!(one.range_end.is_empty() && one.serializable);
    }
}
