//! The map: [`layout`] says where everything stands, [`packets`] what flies between; [`view`] draws the
//! structure as SVG, [`paint`] the packets on a canvas above it.

pub mod layout;
pub mod packets;
pub mod paint;
pub mod view;
