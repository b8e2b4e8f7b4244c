//! Packets made by hand, byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

const TCP_BYTES: u16 = 20;
const TCP: u8 = 6;

/// A TCP segment to be sent by hand.
#[derive(Clone, Debug)]
pub struct Forged {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// A multiple of four bytes.
    pub options: Vec<u8>,
}

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// A whole IP packet with a SYN from the `number`th address of the blocks that nobody has.
pub fn spoofed_syn(to: SocketAddr, number: u32) -> Vec<u8> {
    forged(&Forged {
        from: SocketAddr::new(stranger(to.ip(), number), 1024 + (number % 60_000) as u16),
        to,
        seq: number.wrapping_mul(2_654_435_761), // any sequence number
        ack: 0,
        flags: SYN,
        options: Vec::new(),
    })
}

/// A whole IP packet.
pub fn forged(segment: &Forged) -> Vec<u8> {
    let length = TCP_BYTES + segment.options.len() as u16;
    let mut tcp = Vec::with_capacity(length.into());
    tcp.extend(segment.from.port().to_be_bytes());
    tcp.extend(segment.to.port().to_be_bytes());
    tcp.extend(segment.seq.to_be_bytes());
    tcp.extend(segment.ack.to_be_bytes());
    // length in words, flags, window, checksum, urgent
    tcp.extend([(length as u8 / 4) << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(&segment.options);
    match (segment.from.ip(), segment.to.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut pseudo: Vec<u8> = [src.octets(), dst.octets()].concat();
            pseudo.extend([0, TCP, 0, length as u8]);
            seal(&mut tcp, &pseudo);
            let mut out = vec![0x45, 0, 0, 20 + length as u8, 0, 0, 0x40, 0, 64, TCP, 0, 0];
            out.extend(src.octets());
            out.extend(dst.octets());
            let sum = checksum(&out);
            out[10..12].copy_from_slice(&sum.to_be_bytes());
            out.extend(tcp);
            out
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut pseudo: Vec<u8> = [src.octets(), dst.octets()].concat();
            pseudo.extend([0, 0, 0, length as u8, 0, 0, 0, TCP]);
            seal(&mut tcp, &pseudo);
            let mut out = vec![0x60, 0, 0, 0, 0, length as u8, TCP, 64];
            out.extend(src.octets());
            out.extend(dst.octets());
            out.extend(tcp);
            out
        }
        _ => unreachable!("both ends have one family"),
    }
}

/// A datagram of one byte, IPv4.
pub fn datagram(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    const UDP: u8 = 17;
    let mut out = vec![0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, UDP, 0, 0];
    out.extend(from.ip().octets());
    out.extend(to.ip().octets());
    let sum = checksum(&out);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    // length, and no checksum
    out.extend([0, 9, 0, 0, b'?']);
    out
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
