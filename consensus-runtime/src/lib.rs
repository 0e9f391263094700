//! consensus-runtime
