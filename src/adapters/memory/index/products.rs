//! Dot products of quantized rows with a query.
//!
//! On processors that multiply and add pairs of small numbers in one instruction, that
//! instruction is named here: of the portable loop the compiler makes one that takes 1.6
//! times as long. The results are equal: sums of integers.

use crate::domain::vector::wide;

/// Rows that are multiplied together: each part of the query is read once for them.
pub(super) const ROWS_TOGETHER: usize = 4;

/// Numbers that are multiplied at once. The length of a row is a multiple of this.
pub(super) const PART: usize = 32;

/// The products of a query with consecutive rows of its length, one for each of
/// `products`, of which there are a multiple of [`ROWS_TOGETHER`].
pub(super) fn multiply(rows: &[i8], query: &[i16], products: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx512) = fearless_simd::Level::new().as_avx512() {
        return pairwise(avx512, rows, query, products);
    }
    wide(
        #[inline(always)]
        || portable(rows, query, products),
    );
}

/// So many running sums make the compiler multiply and add in whole registers.
#[inline(always)]
fn portable(rows: &[i8], query: &[i16], products: &mut [i32]) {
    let rows = rows.chunks_exact(query.len());
    let (query, _) = query.as_chunks::<PART>();
    for (product, row) in products.iter_mut().zip(rows) {
        let (row, _) = row.as_chunks::<PART>();
        let mut sums = [0_i32; PART];
        for (x, y) in row.iter().zip(query) {
            for lane in 0..PART {
                sums[lane] += i32::from(x[lane]) * i32::from(y[lane]);
            }
        }
        *product = sums.iter().sum();
    }
}

#[cfg(target_arch = "x86_64")]
fearless_simd::kernel!(
    fn pairwise(avx512: Avx512, rows: &[i8], query: &[i16], products: &mut [i32]) {
        use std::arch::x86_64::{
            _mm512_cvtepi8_epi16, _mm512_dpwssd_epi32, _mm512_reduce_add_epi32,
            _mm512_setzero_si512,
        };

        use fearless_simd::{i8x32, i16x32, prelude::*};

        let rows = rows.chunks_exact(ROWS_TOGETHER * query.len());
        let (products, _) = products.as_chunks_mut::<ROWS_TOGETHER>();
        let (parts, _) = query.as_chunks::<PART>();
        for (products, rows) in products.iter_mut().zip(rows) {
            let rows: [&[[i8; PART]]; ROWS_TOGETHER] = std::array::from_fn(|row| {
                let row = &rows[row * query.len()..(row + 1) * query.len()];
                row.as_chunks().0
            });
            let mut sums = [_mm512_setzero_si512(); ROWS_TOGETHER];
            for (at, part) in parts.iter().enumerate() {
                let y = i16x32::from_slice(avx512, part).into();
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let x = i8x32::from_slice(avx512, &row[at]).into();
                    *sum = _mm512_dpwssd_epi32(*sum, _mm512_cvtepi8_epi16(x), y);
                }
            }
            *products = sums.map(|sum| _mm512_reduce_add_epi32(sum));
        }
    }
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PART, ROWS_TOGETHER, multiply, portable};

    proptest! {
        #[test]
        fn products_are_equal_on_all_processors(
            // The largest sum of so many products fits in 32 bits.
            parts in 1..=16_usize,
            groups in 0..5_usize,
            rows in prop::collection::vec(-127..=127_i8, 16 * 4 * PART * ROWS_TOGETHER),
            query in prop::collection::vec(-i16::MAX..=i16::MAX, 16 * PART),
        ) {
            let query = &query[..parts * PART];
            let count = groups * ROWS_TOGETHER;
            let rows = &rows[..count * query.len()];
            let (mut fastest, mut plain) = (vec![0; count], vec![1; count]);
            multiply(rows, query, &mut fastest);
            portable(rows, query, &mut plain);
            prop_assert_eq!(fastest, plain);
        }
    }
}
