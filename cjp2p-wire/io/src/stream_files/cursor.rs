//! What comes next of a stream for a reader that wants it in order.

use std::ops::Range;

use cjp2p_wire::stream::{BLOCK_LEN, Join, SignedBlock, Statement};

/// What comes next at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These bytes of a block.
    Bytes(SignedBlock, Range<usize>),
    /// Nothing was or will be between these offsets: another part begins after that.
    Gap(Range<u64>),
    /// It is not here yet.
    Missing,
    /// The stream has ended.
    End,
}

/// What comes at `position`, where `block` is what is here and `statement` the newest of the origin.
pub fn next(
    position: u64,
    block: impl FnOnce(u64) -> Option<SignedBlock>,
    statement: Option<&Statement>,
) -> Next {
    let index = position / BLOCK_LEN as u64;
    let within = (position % BLOCK_LEN as u64) as usize;
    // What is here counts, though the origin may have lost it.
    if let Some(block) = block(index).filter(|block| block.data().len() > within) {
        let end = block.data().len();
        return Next::Bytes(block, within..end);
    }
    match statement {
        Some(statement) if statement.ended && position >= statement.end => Next::End,
        Some(statement) => match statement.next(position) {
            Some(next) if next > position => Next::Gap(position..next),
            _ => Next::Missing,
        },
        None => Next::Missing,
    }
}

/// Where to go on after a position that is late: at the newest place to join of which something is here; where the origin tells none at
/// all, where what is here begins that reaches the edge.
pub fn go_on_at(
    position: u64,
    joins: &[Join],
    is_here: impl Fn(u64) -> bool,
    last_run: Option<u64>,
) -> Option<u64> {
    if joins.is_empty() {
        return last_run.filter(|start| *start > position);
    }
    let after = joins.iter().rev().map(|join| join.offset).take_while(|offset| *offset > position);
    after.into_iter().find(|offset| is_here(*offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cjp2p_wire::signed::SigningKey;
    use cjp2p_wire::stream::StreamId;

    #[test]
    fn what_is_here_comes_in_order_and_what_never_was_is_passed_over() {
        let key = SigningKey::from_seed(&[1; 32]);
        let id = StreamId::new(key.public(), "a").unwrap();
        let block = |index, length| SignedBlock::sign(&key, &id, index, &vec![7; length]).unwrap();
        let here = |index| (index < 2).then(|| block(index, if index == 0 { 4096 } else { 10 }));
        assert_eq!(next(0, here, None), Next::Bytes(block(0, 4096), 0..4096));
        assert_eq!(next(4100, here, None), Next::Bytes(block(1, 10), 4..10));
        assert_eq!(next(4106, here, None), Next::Missing);
        let parts = vec![0..4102, 12288..20000];
        let mut statement = Statement { end: 20000, time: 1, parts, ..Statement::default() };
        assert_eq!(
            next(4101, here, Some(&statement)),
            Next::Bytes(block(1, 10), 5..10),
            "the origin may have lost it"
        );
        assert_eq!(next(4106, here, Some(&statement)), Next::Gap(4106..12288));
        assert_eq!(next(12288, here, Some(&statement)), Next::Missing);
        assert_eq!(next(20000, here, Some(&statement)), Next::Missing);
        statement.ended = true;
        assert_eq!(next(20000, here, Some(&statement)), Next::End);
        assert_eq!(next(19999, here, Some(&statement)), Next::Missing);
    }

    #[test]
    fn one_goes_on_at_the_newest_place_of_which_there_is_something() {
        let joins = [10, 20, 30, 40].map(|offset| Join { offset, time: 0 });
        assert_eq!(go_on_at(15, &joins, |offset| offset < 40, Some(35)), Some(30));
        assert_eq!(go_on_at(30, &joins, |offset| offset < 40, Some(35)), None);
        assert_eq!(go_on_at(15, &joins, |_| false, Some(35)), None);
        assert_eq!(go_on_at(15, &[], |_| false, Some(35)), Some(35));
        assert_eq!(go_on_at(35, &[], |_| true, Some(35)), None);
    }
}
