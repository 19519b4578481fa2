//! Embeddings, L2-normalized, so that a cosine is a dot product.

use std::fmt;

use fearless_simd::{Level, Simd as _, dispatch};

/// Tolerance of the length of a unit vector after its components are rounded to
/// single precision: slightly more than half a unit in the last place.
const ROUNDING: f64 = 1e-7;

/// A number of a vector in little-endian order. As bytes have no alignment, an allocator
/// need not add room for it: mimalloc would take 1,792 bytes for 384 numbers, not 1,536.
type Component = [u8; size_of::<f32>()];

/// A vector of length 1. A clone copies its numbers.
#[derive(Clone)]
pub struct UnitVector(Box<[Component]>);

impl UnitVector {
    /// Scales `values` to length 1. Values of length 1 are kept to the last bit.
    /// `None` if they are empty, all zero, or not all finite: such a vector has no
    /// direction.
    #[must_use]
    pub fn new(values: &[f32]) -> Option<Self> {
        let norm = values
            .iter()
            .map(|value| f64::from(*value) * f64::from(*value))
            .sum::<f64>()
            .sqrt();
        if (norm - 1.0).abs() <= ROUNDING {
            return Some(Self(
                values.iter().map(|value| value.to_le_bytes()).collect(),
            ));
        }
        Self::scaled(values.iter().map(|value| f64::from(*value)), norm)
    }

    /// Like [`UnitVector::new`], from values in double precision.
    #[must_use]
    pub fn from_f64(values: &[f64]) -> Option<Self> {
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        Self::scaled(values.iter().copied(), norm)
    }

    fn scaled(values: impl Iterator<Item = f64>, norm: f64) -> Option<Self> {
        (norm > 0.0 && norm.is_finite()).then(|| {
            Self(
                values
                    .map(|value| ((value / norm) as f32).to_le_bytes())
                    .collect(),
            )
        })
    }

    /// Its components.
    #[inline(always)]
    pub fn values(&self) -> impl ExactSizeIterator<Item = f32> {
        self.0
            .iter()
            .map(|component| f32::from_le_bytes(*component))
    }

    /// Its components.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        self.values().collect()
    }

    /// Its components as bytes in little-endian order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// Number of components.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Dot product with a vector of its size.
    #[inline(always)]
    #[must_use]
    pub fn dot(&self, other: &Self) -> f32 {
        let [product] = dots(&self.0, [&other.0]);
        product
    }

    /// Cosine of the angle to `other`, −1 to 1. `None` if the sizes differ.
    #[inline(always)]
    #[must_use]
    pub fn cosine(&self, other: &Self) -> Option<f64> {
        if self.size() == other.size() {
            Some(cosine(self.dot(other)))
        } else {
            None
        }
    }

    /// [`UnitVector::cosine`] to several others, in less time than one by one.
    #[inline(always)]
    #[must_use]
    pub fn cosines<const N: usize>(&self, others: [&Self; N]) -> [Option<f64>; N] {
        if others.iter().all(|other| other.size() == self.size()) {
            dots(&self.0, others.map(|other| &*other.0)).map(|product| Some(cosine(product)))
        } else {
            others.map(|other| self.cosine(other))
        }
    }
}

impl PartialEq for UnitVector {
    fn eq(&self, other: &Self) -> bool {
        self.values().eq(other.values())
    }
}

impl fmt::Debug for UnitVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnitVector").field(&self.to_vec()).finish()
    }
}

#[inline(always)]
fn cosine(product: f32) -> f64 {
    f64::from(product).clamp(-1.0, 1.0)
}

/// `(cosine + 1) / 2`, 0 to 1; 0 if either vector is missing or the sizes differ.
#[inline(always)]
#[must_use]
pub fn cos01(a: Option<&UnitVector>, b: Option<&UnitVector>) -> f64 {
    match (a, b) {
        (Some(a), Some(b)) => a.cosine(b).map_or(0.0, in_0_to_1),
        _ => 0.0,
    }
}

/// `(cosine + 1) / 2`.
#[inline(always)]
#[must_use]
pub fn in_0_to_1(cosine: f64) -> f64 {
    (cosine + 1.0) / 2.0
}

/// Dot products of a slice with others of its length. Each is the same to the last bit as
/// alone, but several together take less time: their additions do not wait for each
/// other.
///
/// Each keeps sixteen running sums, which the compiler can hold in vector registers.
/// A single sum would make the additions sequential.
#[inline(always)]
#[must_use]
fn dots<const N: usize>(a: &[Component], others: [&[Component]; N]) -> [f32; N] {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let blocks = others.map(|b| &b.as_chunks::<LANES>().0[..a_blocks.len()]);
    let mut sums = [[0.0_f32; LANES]; N];
    for (place, x) in a_blocks.iter().enumerate() {
        for n in 0..N {
            sums[n] = add_products(sums[n], x, &blocks[n][place]);
        }
    }
    let mut products = [0.0; N];
    for n in 0..N {
        let rest = a_rest.iter().zip(others[n].as_chunks::<LANES>().1);
        let rest = rest.map(|(x, y)| f32::from_le_bytes(*x) * f32::from_le_bytes(*y));
        let rest: f32 = rest.sum();
        products[n] = sums[n].iter().sum::<f32>() + rest;
    }
    products
}

/// Number of running sums of a dot product.
const LANES: usize = 16;

/// Takes and returns the sums by value: sums that change in place stay in memory.
#[inline(always)]
fn add_products(
    mut sums: [f32; LANES],
    x: &[Component; LANES],
    y: &[Component; LANES],
) -> [f32; LANES] {
    for lane in 0..LANES {
        sums[lane] += f32::from_le_bytes(x[lane]) * f32::from_le_bytes(y[lane]);
    }
    sums
}

/// Runs numeric loops with the widest vector registers of this machine. Results
/// are identical on all machines, to the last bit: registers of any width hold the
/// same running sums. Only code that is inlined into `work` becomes faster.
#[inline(always)]
pub fn wide<R>(work: impl FnOnce() -> R) -> R {
    dispatch!(Level::new(), simd => simd.vectorize(work))
}

#[cfg(test)]
mod tests {
    use super::{Component, UnitVector, cos01, dots};

    #[test]
    fn a_vector_without_direction_is_rejected() {
        assert_eq!(UnitVector::new(&[]), None);
        assert_eq!(UnitVector::new(&[0.0, 0.0]), None);
        assert_eq!(UnitVector::new(&[f32::NAN, 1.0]), None);
        assert_eq!(UnitVector::new(&[f32::INFINITY, 1.0]), None);
    }

    #[test]
    fn the_largest_and_smallest_numbers_are_scaled_without_overflow() {
        for value in [f32::MAX, f32::MIN_POSITIVE] {
            let vector = UnitVector::new(&[value, value]).unwrap();
            assert!((vector.cosine(&vector).unwrap() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn normalizing_a_unit_vector_keeps_every_bit() {
        for seed in 1..2_000_u32 {
            let values: Vec<f32> = (1..=16)
                .map(|place| (seed * place % 1_009) as f32 - 500.0)
                .collect();
            let wide: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            for vector in [UnitVector::new(&values), UnitVector::from_f64(&wide)] {
                let vector = vector.unwrap();
                assert_eq!(UnitVector::new(&vector.to_vec()), Some(vector));
            }
        }
    }

    #[test]
    fn cos01_is_zero_for_missing_vectors_and_for_different_sizes() {
        let flat = UnitVector::new(&[1.0, 0.0]).unwrap();
        let opposite = UnitVector::new(&[-1.0, 0.0]).unwrap();
        let long = UnitVector::new(&[1.0, 0.0, 0.0]).unwrap();
        assert_eq!(cos01(Some(&flat), None), 0.0);
        assert_eq!(cos01(Some(&flat), Some(&long)), 0.0);
        assert_eq!(cos01(Some(&flat), Some(&flat)), 1.0);
        assert_eq!(cos01(Some(&flat), Some(&opposite)), 0.0);
    }

    fn components(values: Vec<f32>) -> Vec<Component> {
        values.into_iter().map(f32::to_le_bytes).collect()
    }

    #[test]
    fn dot_includes_every_component_for_any_length() {
        for length in [0, 1, 15, 16, 17, 384, 385] {
            let ones = components(vec![1.0; length]);
            assert_eq!(dots(&ones, [&ones]), [length as f32]);
        }
    }

    #[test]
    fn several_dot_products_are_those_of_one_by_one_to_the_last_bit() {
        let values = |seed: usize, length: usize| -> Vec<f32> {
            let value = |place: usize| (seed * (place + 1) % 1_009) as f32 / 509.0 - 1.0;
            (0..length).map(value).collect()
        };
        let values = |seed, length| components(values(seed, length));
        for length in [0, 1, 15, 16, 17, 384, 385] {
            let [a, b, c, d] = [7, 11, 13, 17].map(|seed| values(seed, length));
            let together = dots(&a, [&b, &c, &d]);
            assert_eq!(together, [&b, &c, &d].map(|other| dots(&a, [other])[0]));
        }
    }

    #[test]
    fn cosines_are_those_of_one_by_one_whatever_their_sizes() {
        let vector = |values: &[f32]| UnitVector::new(values).unwrap();
        let [a, b, long] = [&[1.0, 2.0][..], &[3.0, -1.0], &[1.0, 0.0, 1.0]].map(vector);
        assert_eq!(a.cosines([&b, &a]), [a.cosine(&b), a.cosine(&a)]);
        assert_eq!(a.cosines([&b, &long]), [a.cosine(&b), None]);
    }
}
