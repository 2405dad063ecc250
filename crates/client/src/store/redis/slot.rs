//! The hash slots of a cluster: which one a key is in, and which node has it.

use super::address::Address;
use ::redis::Value;

const SLOTS: u16 = 16384;
/// The most ranges that a map may have: each slot for itself.
const MAX_RANGES: usize = SLOTS as usize;

/// The slot of `key`: what is between the first `{` and the next `}` counts, if there is anything between them.
pub(super) fn of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0)?;
        rest.get(..close)
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as the cluster's specification names it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// Which master has which slots.
#[derive(Debug)]
pub(super) struct SlotMap {
    /// First and last slot, and who has them; sorted.
    ranges: Vec<(u16, u16, Address)>,
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS` of the node at `told_by`.
    pub(super) fn drawn(told_by: &Address, answer: &Value) -> Option<Self> {
        let Value::Array(ranges) = answer else {
            return None;
        };
        if ranges.len() > MAX_RANGES {
            return None;
        }
        let mut ranges: Vec<_> = ranges.iter().map(|range| read(told_by, range)).collect::<Option<_>>()?;
        ranges.sort_unstable_by_key(|(first, ..)| *first);
        Some(Self { ranges })
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let behind = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, owner) = self.ranges.get(behind.checked_sub(1)?)?;
        (slot <= *last).then_some(owner)
    }

    pub(super) fn has(&self, address: &Address) -> bool {
        self.ranges.iter().any(|(.., owner)| owner == address)
    }
}

/// First and last slot, then the master, then the replicas, which are not asked.
fn read(told_by: &Address, range: &Value) -> Option<(u16, u16, Address)> {
    let Value::Array(parts) = range else {
        return None;
    };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else {
        return None;
    };
    let [host, Value::Int(port), ..] = &master[..] else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        // The node does not know how it is reached, but we did reach it.
        Value::Nil => "",
        _ => return None,
    };
    let slot = |number: i64| u16::try_from(number).ok().filter(|slot| *slot < SLOTS);
    let address = Address::beside(told_by, host, u16::try_from(*port).ok()?)?;
    Some((slot(*first)?, slot(*last)?, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(of(b"foo"), 12182);
        assert_eq!(of(b"{user1000}.following"), of(b"{user1000}.followers"));
        assert_eq!(of(b"{user1000}.following"), of(b"user1000"));
        assert_eq!(of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(of(b"foo{{bar}}zap"), of(b"{bar"));
        assert_eq!(of(b"foo{bar}{zap}"), of(b"bar"));
    }

    #[test]
    fn a_map_is_read_and_one_that_cannot_be_is_none() {
        let told_by = Address::Tcp { host: "10.0.0.1".to_owned(), port: 7000 };
        let node = |host: &str, port| {
            Value::Array(vec![Value::BulkString(host.as_bytes().to_vec()), Value::Int(port), Value::Nil])
        };
        let range = |first, last, node| Value::Array(vec![Value::Int(first), Value::Int(last), node]);
        let answer =
            Value::Array(vec![range(100, 200, node("10.0.0.2", 7001)), range(0, 98, node("", 7000))]);
        let map = SlotMap::drawn(&told_by, &answer).unwrap();
        let owner = |slot| map.owner(slot).map(Address::to_string);
        assert_eq!(owner(0).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(owner(98).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(owner(99), None);
        assert_eq!(owner(200).as_deref(), Some("10.0.0.2:7001"));
        assert_eq!(owner(201), None);
        assert!(map.has(&told_by));
        for wrong in
            [Value::Nil, Value::Array(vec![Value::Nil]), Value::Array(vec![range(-1, 5, node("a", 1))])]
        {
            assert!(SlotMap::drawn(&told_by, &wrong).is_none());
        }
        let too_high = Value::Array(vec![range(0, 16384, node("a", 1))]);
        assert!(SlotMap::drawn(&told_by, &too_high).is_none());
    }
}
