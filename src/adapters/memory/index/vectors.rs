//! Quantized vectors for scans: one byte a number, in contiguous rows.
//!
//! A row is `step · codes`; the codes are integers from −127 to 127. Its distance
//! from the exact vector is stored with it. A scan reads a quarter of the vectors'
//! size, and returns bounds of the cosines. Exact cosines are computed only for the
//! rows whose bounds leave open whether they are among the results.
//!
//! # Why the bounds hold
//! Let `x` be a vector of length 1 and `x'` its row, `y` the query and `y'` its
//! quantized form. By the Cauchy-Schwarz inequality
//! `|x·y − x'·y'| = |(x − x')·y + x'·(y − y')| ≤ |x − x'|·|y| + |x'|·|y − y'|`,
//! and `|x'| ≤ |x| + |x − x'|`. The distances are those of the stored codes and
//! steps, however these were rounded. `x'·y'` is a sum of integers, exact except
//! for the steps. The cosine that items are ordered by is a sum in single
//! precision; in any order its error is at most `n·u/(1 − n·u) ≤ 2·n·u` for `n`
//! numbers and `u = 2⁻²⁴` (N. Higham, "Accuracy and Stability of Numerical
//! Algorithms", 3.1). [`SLACK`] covers the rounding of the arithmetic here, on
//! values of at most 4.

use super::products::{PART, ROWS_TOGETHER, multiply};
use crate::domain::vector::{UnitVector, wide};

/// Rows per allocation.
const BLOCK_ROWS: usize = 256;
/// The largest code of a row.
const LEVELS: f32 = 127.0;
/// An upper bound of the rounding errors of single precision on values up to 4.
const SLACK: f64 = 4e-6;
/// An upper bound of the length of a rounded vector of length 1.
const LENGTH: f64 = 1.000_001;
const NO_ROW: u32 = u32::MAX;
/// Exact cosines that are computed together.
const TOGETHER: usize = 4;

/// The vectors of items, all of one size, in rows.
#[derive(Default)]
pub(super) struct VectorIndex {
    size: usize,
    row_bytes: usize,
    blocks: Vec<Vec<i8>>,
    scales: Vec<RowScale>,
    slots: Vec<u32>,
    row_of_slot: Vec<u32>,
    version: u64,
}

/// How to decode a row.
#[derive(Clone, Copy)]
struct RowScale {
    step: f32,
    /// Distance of the row from its vector, rounded up.
    error: f32,
}

/// Lower and upper bounds of the cosines of consecutive rows, with their slots.
pub(super) struct CosineBounds<'b> {
    pub(super) first_row: u32,
    pub(super) low: &'b [f32],
    pub(super) high: &'b [f32],
    pub(super) slots: &'b [u32],
}

impl VectorIndex {
    /// Memory of the row of a vector of this size.
    pub(super) const fn bytes(size: usize) -> usize {
        row_bytes(size) + size_of::<RowScale>() + 2 * size_of::<u32>()
    }

    /// The number of vectors.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Length of the vectors; `None` if there are none.
    pub(super) fn size(&self) -> Option<usize> {
        (!self.slots.is_empty()).then_some(self.size)
    }

    /// Changes with each vector that is added or removed.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Adds the vector of a slot that has none. All vectors must have its size.
    pub(super) fn insert(&mut self, slot: u32, vector: &UnitVector) {
        if self.slots.is_empty() {
            self.size = vector.size();
            self.row_bytes = row_bytes(self.size);
            self.blocks.clear();
        }
        self.version += 1;
        let row = self.slots.len();
        if row == self.blocks.len() * BLOCK_ROWS {
            self.blocks.push(vec![0; BLOCK_ROWS * self.row_bytes]);
        }
        let codes = &mut self.row_mut(row)[..vector.size()];
        let (step, error) = quantize(vector, LEVELS, |place, code| {
            codes[place] = code as i8;
        });
        self.scales.push(RowScale {
            step,
            error: (error * LENGTH) as f32,
        });
        self.slots.push(slot);
        let slot = slot as usize;
        if slot >= self.row_of_slot.len() {
            self.row_of_slot.resize(slot + 1, NO_ROW);
        }
        self.row_of_slot[slot] = row as u32;
    }

    /// Removes a slot's vector, if it has one. The last row replaces its row.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(row) = self.row_of_slot.get_mut(slot as usize) else {
            return;
        };
        let row = std::mem::replace(row, NO_ROW);
        if row == NO_ROW {
            return;
        }
        self.version += 1;
        let (row, last) = (row as usize, self.slots.len() - 1);
        if row < last {
            let moved = self.row_mut(last).to_vec();
            self.row_mut(row).copy_from_slice(&moved);
            self.row_of_slot[self.slots[last] as usize] = row as u32;
        }
        self.scales.swap_remove(row);
        self.slots.swap_remove(row);
        self.blocks.truncate(self.slots.len().div_ceil(BLOCK_ROWS));
    }

    fn row_mut(&mut self, row: usize) -> &mut [i8] {
        let begin = row % BLOCK_ROWS * self.row_bytes;
        &mut self.blocks[row / BLOCK_ROWS][begin..begin + self.row_bytes]
    }

    /// The row of a slot, if it has one.
    pub(super) fn row(&self, slot: u32) -> Option<u32> {
        let row = self.row_of_slot.get(slot as usize).copied();
        row.filter(|row| *row != NO_ROW)
    }

    /// The exact cosines of some rows to a query of their size, each with its slot, of
    /// which `vector` returns the vector.
    pub(super) fn cosines<'v>(
        &self,
        rows: &[u32],
        query: &UnitVector,
        vector: impl Fn(u32) -> Option<&'v UnitVector>,
    ) -> Vec<(f64, u32)> {
        // Finding the vectors first lets the processor fetch several at once.
        let slots = rows.iter().map(|row| self.slots[*row as usize]);
        let vectors = slots.filter_map(|slot| Some((vector(slot)?, slot)));
        let vectors: Vec<(&UnitVector, u32)> = vectors.collect();
        let mut cosines = Vec::with_capacity(rows.len());
        wide(
            #[inline(always)]
            || {
                let (groups, rest) = vectors.as_chunks::<TOGETHER>();
                for group in groups {
                    let together = query.cosines(group.map(|(vector, _)| vector));
                    let found = together.into_iter().zip(group);
                    let found = found.filter_map(|(cosine, (_, slot))| Some((cosine?, *slot)));
                    cosines.extend(found);
                }
                for (vector, slot) in rest {
                    cosines.extend(query.cosine(vector).map(|cosine| (cosine, *slot)));
                }
            },
        );
        cosines
    }

    /// The bytes that a scan reads.
    pub(super) fn scanned_bytes(&self) -> usize {
        self.slots.len() * self.row_bytes
    }

    /// Scans all rows for some queries of their size. Passes bounds of the rows' cosines
    /// to a query, with its position, to `visit`, some rows at a time.
    pub(super) fn scan(
        &self,
        queries: &[&UnitVector],
        mut visit: impl FnMut(usize, CosineBounds<'_>),
    ) {
        let queries: Vec<QuantizedQuery> = queries.iter().map(|query| self.query(query)).collect();
        let mut products = [0_i32; BLOCK_ROWS];
        let (mut low, mut high) = ([0.0_f32; BLOCK_ROWS], [0.0_f32; BLOCK_ROWS]);
        let mut first_row = 0;
        for ((block, scales), slots) in self
            .blocks
            .iter()
            .zip(self.scales.chunks(BLOCK_ROWS))
            .zip(self.slots.chunks(BLOCK_ROWS))
        {
            let rows = scales.len();
            for (position, query) in queries.iter().enumerate() {
                // A block has memory for all its rows, used or not.
                let together = rows.next_multiple_of(ROWS_TOGETHER);
                multiply(block, &query.codes, &mut products[..together]);
                wide(
                    #[inline(always)]
                    || {
                        for row in 0..rows {
                            let cosine = products[row] as f32 * (scales[row].step * query.step);
                            let error = scales[row].error * query.by_row + query.by_query;
                            low[row] = cosine - error;
                            high[row] = cosine + error;
                        }
                    },
                );
                let bounds = CosineBounds {
                    first_row,
                    low: &low[..rows],
                    high: &high[..rows],
                    slots,
                };
                visit(position, bounds);
            }
            first_row += rows as u32;
        }
    }

    fn query(&self, query: &UnitVector) -> QuantizedQuery {
        // The largest that keeps sums of products within 32 bits.
        let most = i32::MAX as usize / (LEVELS as usize * self.size);
        let levels = most.min(i16::MAX as usize) as f32;
        let mut codes = vec![0_i16; self.row_bytes];
        let (step, error) = quantize(query, levels, |place, code| {
            codes[place] = code as i16;
        });
        let summing = self.size as f64 * f64::from(f32::EPSILON);
        QuantizedQuery {
            codes,
            step,
            by_row: (LENGTH + error) as f32,
            by_query: (LENGTH * error + summing + SLACK) as f32,
        }
    }
}

/// A query as a scan compares it with rows.
struct QuantizedQuery {
    codes: Vec<i16>,
    step: f32,
    /// The part of the error that grows with the row's.
    by_row: f32,
    /// The rest of the error.
    by_query: f32,
}

/// Rows are padded with zeros.
const fn row_bytes(size: usize) -> usize {
    size.next_multiple_of(PART)
}

/// Quantizes a vector to multiples of a step, of which the largest is `levels`.
/// Returns the step, and the distance of the result from the vector.
fn quantize(vector: &UnitVector, levels: f32, mut write: impl FnMut(usize, f32)) -> (f32, f64) {
    let largest = vector
        .values()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let step = largest / levels;
    let mut squares = 0.0;
    for (place, value) in vector.values().enumerate() {
        let code = (value / step).round().clamp(-levels, levels);
        write(place, code);
        let error = f64::from(value) - f64::from(step) * f64::from(code);
        squares += error * error;
    }
    (step, squares.sqrt())
}

#[cfg(test)]
mod tests {
    use super::VectorIndex;
    use crate::domain::vector::UnitVector;

    /// Vectors of different shapes: a single number, a dominant number, equal
    /// absolute values (the largest sum of codes), and a mix.
    fn shapes(size: usize) -> Vec<UnitVector> {
        let shapes: [fn(f32, usize) -> f32; 5] = [
            |place, _| if place == 0.0 { 1.0 } else { 0.0 },
            |place, _| if place == 0.0 { 1.0 } else { 1e-3 },
            |_, _| 1.0,
            |place, _| if place % 2.0 == 0.0 { 1.0 } else { -1.0 },
            |place, size| (place * 0.7).sin() * (1.0 + place) / size as f32,
        ];
        let values = shapes
            .iter()
            .map(|shape| (0..size).map(|at| shape(at as f32, size)).collect());
        values
            .flat_map(|values: Vec<f32>| {
                let opposite: Vec<f32> = values.iter().map(|value| -value).collect();
                [UnitVector::new(&values), UnitVector::new(&opposite)]
            })
            .flatten()
            .collect()
    }

    #[test]
    fn every_cosine_is_between_its_bounds() {
        for size in [1, 2, 16, 31, 33, 384, 517, 1_536, 20_000] {
            let shapes = shapes(size);
            let mut vectors = VectorIndex::default();
            for (vector, slot) in shapes.iter().zip(0..) {
                vectors.insert(slot, vector);
            }
            for query in &shapes {
                vectors.scan(&[query], |_, bounds| {
                    for (at, slot) in bounds.slots.iter().enumerate() {
                        let exact = shapes[*slot as usize].dot(query);
                        let (low, high) = (bounds.low[at], bounds.high[at]);
                        assert!(
                            low <= exact && exact <= high,
                            "{size}: {low} {exact} {high}"
                        );
                    }
                });
            }
        }
    }

    #[test]
    fn bounds_are_tight() {
        let shapes = shapes(384);
        let mut vectors = VectorIndex::default();
        vectors.insert(0, &shapes[8]);
        let mut width = f32::INFINITY;
        vectors.scan(&[&shapes[8]], |_, bounds| {
            width = bounds.high[0] - bounds.low[0]
        });
        assert!(width < 0.02, "{width}");
    }

    #[test]
    fn an_empty_index_has_no_size_and_the_next_vector_sets_it() {
        let mut vectors = VectorIndex::default();
        vectors.insert(3, &shapes(2)[0]);
        assert_eq!((vectors.len(), vectors.size()), (1, Some(2)));
        vectors.remove(3);
        vectors.remove(3);
        vectors.remove(9);
        assert_eq!((vectors.len(), vectors.size()), (0, None));
        vectors.insert(0, &shapes(40)[0]);
        assert_eq!((vectors.len(), vectors.size()), (1, Some(40)));
    }
}
