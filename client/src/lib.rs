//! polylite-client
