//! Spoofed SYNs, byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP_BYTES: u16 = 20;
const TCP: u8 = 6;

/// A whole IP packet with a SYN from the `number`th address of the blocks that nobody has.
pub fn spoofed_syn(to: SocketAddr, number: u32) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(TCP_BYTES.into());
    tcp.extend((1024 + (number % 60_000) as u16).to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(number.wrapping_mul(2_654_435_761).to_be_bytes()); // any sequence number
    tcp.extend([0; 4]);
    tcp.extend([0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]); // five words, SYN, window, checksum, urgent
    match (stranger(to.ip(), number), to.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut pseudo: Vec<u8> = [src.octets(), dst.octets()].concat();
            pseudo.extend([0, TCP, 0, TCP_BYTES as u8]);
            seal(&mut tcp, &pseudo);
            let mut out = vec![0x45, 0, 0, 20 + TCP_BYTES as u8, 0, 0, 0x40, 0, 64, TCP, 0, 0];
            out.extend(src.octets());
            out.extend(dst.octets());
            let sum = checksum(&out);
            out[10..12].copy_from_slice(&sum.to_be_bytes());
            out.extend(tcp);
            out
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut pseudo: Vec<u8> = [src.octets(), dst.octets()].concat();
            pseudo.extend([0, 0, 0, TCP_BYTES as u8, 0, 0, 0, TCP]);
            seal(&mut tcp, &pseudo);
            let mut out = vec![0x60, 0, 0, 0, 0, TCP_BYTES as u8, TCP, 64];
            out.extend(src.octets());
            out.extend(dst.octets());
            out.extend(tcp);
            out
        }
        _ => unreachable!("a stranger has the family of whom he talks to"),
    }
}

/// Addresses that nobody has: RFC 2544's block, and one of the unique local ones.
pub fn nobodies(ipv4: bool) -> &'static str {
    if ipv4 { "198.18.0.0/15" } else { "fd99::/16" }
}

/// The `number`th address of [`nobodies`], in the family of `to`.
pub fn stranger(to: IpAddr, number: u32) -> IpAddr {
    if to.is_ipv4() {
        // 198.18.0.0/15 has 131,072 addresses.
        Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number % 131_072).into()
    } else {
        let (high, low) = ((number >> 16) as u16, number as u16);
        Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, high, low).into()
    }
}

fn seal(tcp: &mut [u8], pseudo: &[u8]) {
    let sum = checksum(&[pseudo, tcp].concat());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
