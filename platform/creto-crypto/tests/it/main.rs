//! Published vectors, properties and the life of a key ring, all through the public interface.

#[cfg(test)]
mod decoders;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod x_wing;
