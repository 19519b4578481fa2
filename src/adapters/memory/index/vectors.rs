//! Vectors laid out for a scan: a byte for each number, in rows without gaps.
//!
//! A row is `step · codes`, the codes being whole numbers from −127 to 127, and
//! how far that is from the vector it stands for is kept with it. A scan
//! reads a quarter of what the vectors take, and gives bounds, not cosines: who
//! needs the first ones of an order takes the exact cosine of those whose
//! bounds leave it open, and of no others.
//!
//! # Why the bounds hold
//! Let `x` be a vector of length 1 and `x'` its row, `y` the query and `y'` its
//! coded form. By the inequality of Cauchy and Schwarz
//! `|x·y − x'·y'| = |(x − x')·y + x'·(y − y')| ≤ |x − x'|·|y| + |x'|·|y − y'|`,
//! and `|x'| ≤ |x| + |x − x'|`. The distances are those of the codes and steps as
//! they are kept, so it does not matter how those were rounded. `x'·y'` is exact
//! but for its steps: it is a sum of whole numbers. The cosine that items are
//! ordered by is a sum in single precision, in whatever order off by at most
//! `n·u/(1 − n·u) ≤ 2·n·u` for `n` numbers and `u = 2⁻²⁴` (N. Higham, "Accuracy
//! and Stability of Numerical Algorithms", 3.1). [`SLACK`] is for what the
//! arithmetic here rounds away, on values of at most 4.

use crate::domain::vector::{UnitVector, wide};

/// Rows that are taken from the allocator at once.
const BLOCK_ROWS: usize = 256;
/// A row is as long as a multiple of this, with zeros behind the codes.
const ROW_MULTIPLE: usize = 32;
/// The largest code of a row.
const LEVELS: f32 = 127.0;
/// More than the arithmetic of single precision loses on values up to 4.
const SLACK: f64 = 4e-6;
/// More than a vector of length 1 is long, once it is rounded.
const LENGTH: f64 = 1.000_001;
const NO_ROW: u32 = u32::MAX;

/// The vectors of items, all of one size, in rows.
#[derive(Default)]
pub(super) struct Vectors {
    size: usize,
    row_bytes: usize,
    blocks: Vec<Vec<i8>>,
    forms: Vec<Form>,
    slots: Vec<u32>,
    exact: Vec<UnitVector>,
    row_of_slot: Vec<u32>,
}

/// How a row's codes are read.
#[derive(Clone, Copy)]
struct Form {
    step: f32,
    /// How far the row is from its vector, rounded up.
    off_by: f32,
}

/// Between which values the cosines of some rows are, from the first of them on.
pub(super) struct Bounds<'b> {
    pub(super) first_row: u32,
    pub(super) low: &'b [f32],
    pub(super) high: &'b [f32],
    pub(super) slots: &'b [u32],
}

impl Vectors {
    /// What a vector of this size takes here.
    pub(super) const fn bytes(size: usize) -> usize {
        row_bytes(size) + size_of::<Form>() + size_of::<UnitVector>() + 2 * size_of::<u32>()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many numbers each has; `None` if there are none.
    pub(super) fn size(&self) -> Option<usize> {
        (!self.slots.is_empty()).then_some(self.size)
    }

    /// Takes a slot's vector in. All others are of its size, and the slot has
    /// none yet.
    pub(super) fn insert(&mut self, slot: u32, vector: &UnitVector) {
        if self.slots.is_empty() {
            self.size = vector.size();
            self.row_bytes = row_bytes(self.size);
            self.blocks.clear();
        }
        let row = self.slots.len();
        if row == self.blocks.len() * BLOCK_ROWS {
            self.blocks.push(vec![0; BLOCK_ROWS * self.row_bytes]);
        }
        let codes = &mut self.row_mut(row)[..vector.size()];
        let (step, off_by) = encode(vector.as_slice(), LEVELS, |place, code| {
            codes[place] = code as i8;
        });
        self.forms.push(Form {
            step,
            off_by: (off_by * LENGTH) as f32,
        });
        self.slots.push(slot);
        self.exact.push(vector.clone());
        let slot = slot as usize;
        if slot >= self.row_of_slot.len() {
            self.row_of_slot.resize(slot + 1, NO_ROW);
        }
        self.row_of_slot[slot] = row as u32;
    }

    /// Takes a slot's vector out, if it has one. The last row takes its place.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(row) = self.row_of_slot.get_mut(slot as usize) else {
            return;
        };
        let row = std::mem::replace(row, NO_ROW);
        if row == NO_ROW {
            return;
        }
        let (row, last) = (row as usize, self.slots.len() - 1);
        if row < last {
            let moved = self.row_mut(last).to_vec();
            self.row_mut(row).copy_from_slice(&moved);
            self.row_of_slot[self.slots[last] as usize] = row as u32;
        }
        self.forms.swap_remove(row);
        self.slots.swap_remove(row);
        self.exact.swap_remove(row);
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

    /// Gives each of these rows' slots with its exact cosine to a query of the
    /// same size.
    pub(super) fn cosines(&self, rows: &[u32], query: &UnitVector) -> Vec<(f64, u32)> {
        let mut cosines = Vec::with_capacity(rows.len());
        wide(
            #[inline(always)]
            || {
                for row in rows {
                    let row = *row as usize;
                    if let Some(cosine) = self.exact[row].cosine(query) {
                        cosines.push((cosine, self.slots[row]));
                    }
                }
            },
        );
        cosines
    }

    /// Scans all rows, and tells bounds of their cosines to a query of the same
    /// size, some rows at a time.
    pub(super) fn scan(&self, query: &UnitVector, mut tell: impl FnMut(Bounds<'_>)) {
        // So large that the sum of the products stays within 32 bits.
        let most = i32::MAX as usize / (LEVELS as usize * self.size);
        let levels = most.min(i16::MAX as usize) as f32;
        let mut codes = vec![0_i16; self.row_bytes];
        let (step, off_by) = encode(query.as_slice(), levels, |place, code| {
            codes[place] = code as i16;
        });
        let summing = self.size as f64 * f64::from(f32::EPSILON);
        let by_row = (LENGTH + off_by) as f32;
        let by_query = (LENGTH * off_by + summing + SLACK) as f32;

        let mut products = [0_i32; BLOCK_ROWS];
        let (mut low, mut high) = ([0.0_f32; BLOCK_ROWS], [0.0_f32; BLOCK_ROWS]);
        let mut first_row = 0;
        for ((block, forms), slots) in self
            .blocks
            .iter()
            .zip(self.forms.chunks(BLOCK_ROWS))
            .zip(self.slots.chunks(BLOCK_ROWS))
        {
            let rows = forms.len();
            wide(
                #[inline(always)]
                || {
                    let coded = block.chunks_exact(self.row_bytes);
                    for (product, row) in products[..rows].iter_mut().zip(coded) {
                        *product = whole_product(row, &codes);
                    }
                    for row in 0..rows {
                        let cosine = products[row] as f32 * (forms[row].step * step);
                        let reach = forms[row].off_by * by_row + by_query;
                        low[row] = cosine - reach;
                        high[row] = cosine + reach;
                    }
                },
            );
            tell(Bounds {
                first_row,
                low: &low[..rows],
                high: &high[..rows],
                slots,
            });
            first_row += rows as u32;
        }
    }
}

const fn row_bytes(size: usize) -> usize {
    size.next_multiple_of(ROW_MULTIPLE)
}

#[inline(always)]
fn whole_product(row: &[i8], query: &[i16]) -> i32 {
    row.iter()
        .zip(query)
        .map(|(x, y)| i32::from(*x) * i32::from(*y))
        .sum()
}

/// Writes values as multiples of a step, the largest being `levels` of it.
/// Returns the step, and how far that is from the values.
fn encode(values: &[f32], levels: f32, mut write: impl FnMut(usize, f32)) -> (f32, f64) {
    let largest = values
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let step = largest / levels;
    let mut squares = 0.0;
    for (place, value) in values.iter().enumerate() {
        let code = (value / step).round().clamp(-levels, levels);
        write(place, code);
        let off_by = f64::from(*value) - f64::from(step) * f64::from(code);
        squares += off_by * off_by;
    }
    (step, squares.sqrt())
}

#[cfg(test)]
mod tests {
    use super::Vectors;
    use crate::domain::vector::{UnitVector, dot};

    /// Vectors of all shapes: one number, one that outweighs the others, all of
    /// one absolute value (the largest sum of codes), and a bit of everything.
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
            let mut vectors = Vectors::default();
            for (vector, slot) in shapes.iter().zip(0..) {
                vectors.insert(slot, vector);
            }
            for query in &shapes {
                vectors.scan(query, |bounds| {
                    for (at, slot) in bounds.slots.iter().enumerate() {
                        let exact = dot(shapes[*slot as usize].as_slice(), query.as_slice());
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
    fn bounds_leave_little_open() {
        let shapes = shapes(384);
        let mut vectors = Vectors::default();
        vectors.insert(0, &shapes[8]);
        let mut open = f32::INFINITY;
        vectors.scan(&shapes[8], |bounds| open = bounds.high[0] - bounds.low[0]);
        assert!(open < 0.02, "{open}");
    }

    #[test]
    fn without_vectors_there_is_no_size_and_the_next_one_sets_it() {
        let mut vectors = Vectors::default();
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
