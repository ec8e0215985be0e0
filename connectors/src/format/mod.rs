//! Record formats: bytes of one record to Arrow rows and back. Called by connectors; knows neither files nor brokers.

pub mod datetime;
