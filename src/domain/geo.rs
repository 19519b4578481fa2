//! Points on the Earth and distances.

const EARTH_RADIUS_M: f64 = 6_371_000.0;

/// A point on the Earth, WGS 84, within ±90° and ±180°.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    latitude: f64,
    longitude: f64,
}

impl GeoPoint {
    /// `None` if a coordinate is not finite or out of range.
    #[must_use]
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        ((-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude)).then_some(
            Self {
                latitude,
                longitude,
            },
        )
    }

    /// Degrees north.
    #[must_use]
    pub fn latitude(self) -> f64 {
        self.latitude
    }

    /// Degrees east.
    #[must_use]
    pub fn longitude(self) -> f64 {
        self.longitude
    }

    /// Great-circle distance in metres, by the haversine formula
    /// (R. W. Sinnott, "Virtues of the Haversine", Sky & Telescope 68, 1984).
    #[must_use]
    pub fn distance_m(self, other: Self) -> f64 {
        let (phi_a, phi_b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_dphi = (phi_b - phi_a) / 2.0;
        let half_dlambda = (other.longitude - self.longitude).to_radians() / 2.0;
        let h = half_dphi.sin().powi(2) + phi_a.cos() * phi_b.cos() * half_dlambda.sin().powi(2);
        2.0 * EARTH_RADIUS_M * h.min(1.0).sqrt().asin()
    }
}

/// A circle on the Earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circle {
    /// Its center.
    pub center: GeoPoint,
    /// Its radius in metres, above 0.
    pub radius_m: f64,
}

/// Distance in metres from `from` to the nearest of `places`.
#[must_use]
pub fn nearest_m(from: GeoPoint, places: &[GeoPoint]) -> Option<f64> {
    places
        .iter()
        .map(|place| from.distance_m(*place))
        .min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::{GeoPoint, nearest_m};

    #[test]
    fn a_degree_of_latitude_is_111_kilometres() {
        let equator = GeoPoint::new(0.0, 0.0).unwrap();
        let north = GeoPoint::new(1.0, 0.0).unwrap();
        assert!((equator.distance_m(north) - 111_194.93).abs() < 0.01);
    }

    #[test]
    fn antipodal_points_are_half_the_circumference_apart() {
        let here = GeoPoint::new(0.0, 0.0).unwrap();
        let there = GeoPoint::new(0.0, 180.0).unwrap();
        assert!((here.distance_m(there) - std::f64::consts::PI * 6_371_000.0).abs() < 1e-6);
    }

    #[test]
    fn distance_across_the_date_line_is_the_short_one() {
        let west = GeoPoint::new(0.0, 179.999).unwrap();
        let east = GeoPoint::new(0.0, -179.999).unwrap();
        assert!(west.distance_m(east) < 300.0);
    }

    #[test]
    fn coordinates_out_of_range_are_rejected() {
        assert_eq!(GeoPoint::new(90.1, 0.0), None);
        assert_eq!(GeoPoint::new(0.0, -180.1), None);
        assert_eq!(GeoPoint::new(f64::NAN, 0.0), None);
    }

    #[test]
    fn the_nearest_place_is_used() {
        let here = GeoPoint::new(0.0, 0.0).unwrap();
        let near = GeoPoint::new(0.0, 0.001).unwrap();
        let far = GeoPoint::new(0.0, 1.0).unwrap();
        assert_eq!(nearest_m(here, &[far, near]), Some(here.distance_m(near)));
        assert_eq!(nearest_m(here, &[]), None);
    }
}
