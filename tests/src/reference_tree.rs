//! BLAKE3 and the tree `blake3_tree_v2` straight from their descriptions: slow, short, and sharing no code with the
//! library or with the blake3 crate.

/// A 32-byte value.
pub type Value = [u8; 32];

const CHUNK_LEN: usize = 1024;
const LEAF_LEN: usize = 4096;
const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;

const IV: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
/// Which word of the block takes each place in the next round.
const NEXT_ROUND: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
/// The state words that each of the eight mixing steps of a round works on: four columns, then four diagonals.
const STEPS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

fn compress(input: [u32; 8], block: &[u8], counter: u64, flags: u32) -> [u32; 8] {
    let mut padded = [0; 64];
    padded[..block.len()].copy_from_slice(block);
    let mut words: [u32; 16] =
        std::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|byte| padded[4 * i + byte])));
    let mut state = [0; 16];
    state[..8].copy_from_slice(&input);
    state[8..12].copy_from_slice(&IV[..4]);
    state[12..].copy_from_slice(&[counter as u32, (counter >> 32) as u32, block.len() as u32, flags]);
    for _ in 0..7 {
        for (step, [a, b, c, d]) in STEPS.into_iter().enumerate() {
            for (word, (first, second)) in [(words[2 * step], (16, 12)), (words[2 * step + 1], (8, 7))] {
                state[a] = state[a].wrapping_add(state[b]).wrapping_add(word);
                state[d] = (state[d] ^ state[a]).rotate_right(first);
                state[c] = state[c].wrapping_add(state[d]);
                state[b] = (state[b] ^ state[c]).rotate_right(second);
            }
        }
        words = NEXT_ROUND.map(|from| words[from]);
    }
    std::array::from_fn(|i| state[i] ^ state[i + 8])
}

fn bytes_of(words: [u32; 8]) -> Value {
    let mut value = [0; 32];
    for (four, word) in value.chunks_mut(4).zip(words) {
        four.copy_from_slice(&word.to_le_bytes());
    }
    value
}

/// The value of the subtree over `bytes`, which begin at chunk `first_chunk`. `root` is 0 or [`ROOT`].
fn subtree(bytes: &[u8], first_chunk: u64, root: u32) -> Value {
    if bytes.len() <= CHUNK_LEN {
        let blocks: Vec<&[u8]> = if bytes.is_empty() { vec![&[]] } else { bytes.chunks(64).collect() };
        let mut value = IV;
        for (i, block) in blocks.iter().enumerate() {
            let start = if i == 0 { CHUNK_START } else { 0 };
            let end = if i + 1 == blocks.len() { CHUNK_END | root } else { 0 };
            value = compress(value, block, first_chunk, start | end);
        }
        return bytes_of(value);
    }
    // The left side is the largest power of two of chunks that leaves something for the right side.
    let left = bytes.len().div_ceil(CHUNK_LEN).next_power_of_two() / 2;
    let (left_bytes, right_bytes) = bytes.split_at(left * CHUNK_LEN);
    let mut both = [0; 64];
    both[..32].copy_from_slice(&subtree(left_bytes, first_chunk, 0));
    both[32..].copy_from_slice(&subtree(right_bytes, first_chunk + left as u64, 0));
    bytes_of(compress(IV, &both, 0, PARENT | root))
}

/// BLAKE3 of `content`.
pub fn root(content: &[u8]) -> Value {
    subtree(content, 0, ROOT)
}

/// The levels of the tree, the leaves first, down to the first level of 2 entries or fewer. Each entry is computed
/// from all of the content below it.
pub fn levels(content: &[u8]) -> Vec<Vec<Value>> {
    let mut levels = Vec::new();
    let mut span = LEAF_LEN;
    loop {
        let parts: Vec<&[u8]> = if content.is_empty() { vec![&[]] } else { content.chunks(span).collect() };
        let chunks_each = (span / CHUNK_LEN) as u64;
        levels.push((0..).zip(&parts).map(|(i, part)| subtree(part, i * chunks_each, 0)).collect());
        if parts.len() <= 2 {
            return levels;
        }
        span *= 2;
    }
}

/// The tree file.
pub fn file(content: &[u8]) -> Vec<u8> {
    let mut file = b"B3T\x02".to_vec();
    file.resize(32, 0);
    file.extend(root(content));
    for level in levels(content).iter().rev() {
        file.extend(level.as_flattened());
    }
    file
}
