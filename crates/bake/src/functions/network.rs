//! Networks and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use num_bigint::BigInt;

use super::{Answer, text, whole};
use crate::Surroundings;
use crate::value::Value;

/// A network: the bits of its address, how many of them there are, how many are its own.
#[derive(Debug, Clone, Copy)]
struct Network {
    bits: u128,
    width: u32,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a network like 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').ok_or_else(refused)?;
        let (bits, width) = match address.parse().map_err(|_| refused())? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= width).ok_or_else(refused)?;
        let network = Self { bits, width, prefix };
        Ok(Self { bits: bits & network.mask(), ..network })
    }

    fn mask(self) -> u128 {
        let hosts = self.width - self.prefix;
        let all = if self.width == 128 { u128::MAX } else { u128::from(u32::MAX) };
        all & u128::MAX.checked_shl(hosts).unwrap_or(0)
    }

    fn address(self, bits: u128) -> String {
        if self.width == 32 {
            return Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).to_string();
        }
        Ipv6Addr::from_bits(bits).to_string()
    }

    fn show(self) -> Value {
        Value::string(format!("{}/{}", self.address(self.bits), self.prefix))
    }

    /// The part number `number` of this network, with a prefix longer by `more`.
    fn part(self, more: i64, number: u128) -> Result<Self, String> {
        let more = u32::try_from(more).ok().filter(|more| *more <= 32);
        let more = more.ok_or("a prefix can be made longer by at most 32 bits at once")?;
        let prefix = self.prefix + more;
        if prefix > self.width {
            return Err(format!("there are no {prefix} bits in this address"));
        }
        if number.checked_shr(more).unwrap_or(0) != 0 {
            return Err(format!("{more} bits are not enough for the number {number}"));
        }
        let shifted = number.checked_shl(self.width - prefix).unwrap_or(0);
        Ok(Self { bits: self.bits | shifted, prefix, ..self })
    }
}

fn number(arguments: &[Value], at: usize) -> Result<BigInt, String> {
    match arguments.get(at) {
        Some(Value::Number(number)) if number.is_whole() => Ok(number.to_integer()),
        _ => Err("a whole number is required".to_owned()),
    }
}

pub(super) fn cidrhost(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let network = Network::parse(text(arguments, 0))?;
    let wanted = number(arguments, 1)?;
    let size = BigInt::from(1u8) << (network.width - network.prefix);
    let host = if wanted < BigInt::from(0u8) { &size + &wanted } else { wanted.clone() };
    let host = u128::try_from(host).ok().filter(|host| BigInt::from(*host) < size);
    let host = host.ok_or_else(|| format!("the network has no host number {wanted}"))?;
    Ok(Value::string(network.address(network.bits | host)))
}

pub(super) fn cidrnetmask(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let network = Network::parse(text(arguments, 0))?;
    if network.width != 32 {
        return Err("only IPv4 has netmasks".to_owned());
    }
    Ok(Value::string(network.address(network.mask())))
}

pub(super) fn cidrsubnet(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let network = Network::parse(text(arguments, 0))?;
    let wanted = u128::try_from(number(arguments, 2)?).map_err(|_| "it must not be negative")?;
    Ok(network.part(whole(arguments, 1)?, wanted)?.show())
}

pub(super) fn cidrsubnets(arguments: &[Value], _: &Surroundings<'_>) -> Answer {
    let network = Network::parse(text(arguments, 0))?;
    let mut subnets = Vec::new();
    let mut next = network.bits;
    for at in 1..arguments.len() {
        let more = whole(arguments, at)?;
        if more < 1 {
            return Err("a prefix must be made longer by at least one bit".to_owned());
        }
        let part = network.part(more, 0)?;
        let size = 1u128.checked_shl(part.width - part.prefix).unwrap_or(0);
        // Each begins where its own size allows, at or after the end of the one before.
        let begin = next.div_ceil(size.max(1)).checked_mul(size);
        let begin = begin.filter(|begin| begin & network.mask() == network.bits);
        let begin = begin.ok_or("there is not enough room in this network")?;
        subnets.push(Network { bits: begin, ..part }.show());
        next = begin.checked_add(size).ok_or("there is not enough room in this network")?;
    }
    Ok(Value::strings(subnets.iter().filter_map(Value::as_str)))
}
