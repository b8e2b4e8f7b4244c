//! Why the door did not open.

use std::fmt;

/// An error number of the kernel, or one of our own below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    pub const EPERM: Errno = Errno(1);
    pub const ENOENT: Errno = Errno(2);
    pub const EIO: Errno = Errno(5);
    pub const EACCES: Errno = Errno(13);
    pub const ENOTDIR: Errno = Errno(20);
    pub const EISDIR: Errno = Errno(21);
    pub const EINVAL: Errno = Errno(22);
    pub const EOPNOTSUPP: Errno = Errno(95);
    pub const ENOBUFS: Errno = Errno(105);
    pub const ETIMEDOUT: Errno = Errno(110);
    /// A datagram was longer than the buffer (MSG_TRUNC).
    pub const TRUNCATED: Errno = Errno(-1);
    /// A file was longer than what is read whole.
    pub const TOO_LARGE: Errno = Errno(-5);
    /// A replay: the recording holds no answer to this.
    pub const NOT_RECORDED: Errno = Errno(-2);
    /// A replay: the recorded answer was closed before its end (a sample), and the reader wanted more.
    pub const CUT_SHORT: Errno = Errno(-3);
    /// A replay: nothing more was recorded.
    pub const ENDED: Errno = Errno(-6);
    /// The job was never carried out.
    pub const NOT_ASKED: Errno = Errno(-4);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Errno::EPERM => "not permitted",
            Errno::ENOENT => "no such file",
            Errno::EACCES => "permission denied",
            Errno::ENOTDIR => "not a directory",
            Errno::EISDIR => "a directory",
            Errno::EINVAL => "rejected by the kernel as invalid",
            Errno::EOPNOTSUPP => "not supported by this kernel",
            Errno::ENOBUFS => "receive buffer overrun",
            Errno::ETIMEDOUT => "no answer in time",
            Errno::TRUNCATED => "a datagram was cut",
            Errno::NOT_RECORDED => "not in the recording",
            Errno::CUT_SHORT => "the recording holds only a sample of it",
            Errno::TOO_LARGE => "too large to read whole",
            Errno::NOT_ASKED => "not asked",
            Errno::ENDED => "the recording ends here",
            Errno(number) => return std::io::Error::from_raw_os_error(number).fmt(f),
        };
        f.write_str(text)
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_words_of_ours_has_those_of_the_system() {
        assert_eq!(Errno(24).to_string(), "Too many open files (os error 24)");
        assert_eq!(Errno::EPERM.to_string(), "not permitted");
    }
}
