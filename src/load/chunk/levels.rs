//! Parquet's hybrid of run lengths and packed bits, for the two things that it is needed for: which rows have a value, and
//! numbers of dictionary entries.

use arrow::buffer::BooleanBuffer;

/// Which of the rows have a value, as definition levels of at most 1 with their length before them.
pub(super) fn put_validity(valid: &BooleanBuffer, page: &mut Vec<u8>) {
    let rows = valid.len();
    let length_at = page.len();
    page.extend_from_slice(&[0; 4]);
    match valid.count_set_bits() {
        all if all == rows => put_run(rows, 1, 1, page),
        0 => put_run(rows, 0, 1, page),
        _ => {
            // The bits of an Arrow bitmap stand in the order that Parquet wants.
            put_varint((rows.div_ceil(8) << 1 | 1) as u64, page);
            let packed = valid.sliced();
            page.extend_from_slice(&packed.as_slice()[..rows.div_ceil(8)]);
        }
    }
    let length = (page.len() - length_at - 4) as u32;
    page[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// Numbers that are less than `entries`, with their width before them.
pub(super) fn put_codes(codes: &[u32], entries: usize, page: &mut Vec<u8>) {
    let width = (usize::BITS - entries.saturating_sub(1).leading_zeros()).max(1) as usize;
    page.push(width as u8);
    let Some(first) = codes.first() else { return };
    if codes.iter().all(|code| code == first) {
        return put_run(codes.len(), *first, width.div_ceil(8), page);
    }
    let groups = codes.len().div_ceil(8);
    put_varint((groups << 1 | 1) as u64, page);
    page.reserve(groups * width + 8);
    let (mut bits, mut filled) = (0u64, 0);
    for code in codes {
        bits |= u64::from(*code) << filled;
        filled += width;
        if filled >= 32 {
            page.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    // Whole groups of eight numbers; what is not a number is zero.
    let missing = groups * width - (codes.len() * width - filled) / 8;
    page.extend_from_slice(&bits.to_le_bytes()[..missing.min(8)]);
    page.resize(page.len() + missing.saturating_sub(8), 0);
}

fn put_run(count: usize, value: u32, bytes: usize, page: &mut Vec<u8>) {
    put_varint((count as u64) << 1, page);
    page.extend_from_slice(&value.to_le_bytes()[..bytes]);
}

fn put_varint(mut number: u64, page: &mut Vec<u8>) {
    while number >= 0x80 {
        page.push(number as u8 | 0x80);
        number >>= 7;
    }
    page.push(number as u8);
}
