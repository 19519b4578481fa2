//! The test server of Qdrant's protocol does as Qdrant does.
