//! The system calls that nobody else offers in a safe form. All unsafe code is here.

use std::{io, mem::size_of, os::fd::AsRawFd, ptr, time::Duration};

use libc::{c_int, socklen_t};
use rustix::time::Timespec;
use socket2::{SockAddr, SockAddrStorage, Socket};
use tokio::io::{Interest, unix::AsyncFd};

use crate::clock::since_zero;

/// A frame and what the kernel says about it.
#[derive(Debug)]
pub(crate) struct Message {
    /// Bytes in the buffer.
    pub(crate) length: usize,
    /// The frame was longer than the buffer.
    pub(crate) truncated: bool,
    /// `sll_pkttype`.
    pub(crate) packet_type: u8,
    /// `tp_status` of the auxiliary data.
    pub(crate) status: u32,
    /// When it came in, by `CLOCK_REALTIME`.
    pub(crate) stamp: Option<Duration>,
}

/// A change of the addresses that an interface receives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Membership {
    Add,
    Drop,
}

/// Registers the socket with the runtime that runs.
#[expect(unsafe_code, reason = "the runtime asks for a promise about the descriptor")]
pub(crate) fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a Socket owns its descriptor and gives the same one until it is dropped, which `AsyncFd` does itself.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE | Interest::ERROR) };
    Ok(registered?)
}

/// Switches an option of `SOL_PACKET` or `SOL_SOCKET` on.
pub(crate) fn switch_on(socket: &Socket, level: c_int, name: c_int) -> io::Result<()> {
    let on: c_int = 1;
    set_option(socket, level, name, &on)
}

/// Receives frames to a further address, or no longer, without all the others (`PACKET_MR_UNICAST`, and for a group
/// `PACKET_MR_MULTICAST`).
pub(crate) fn membership(
    socket: &Socket,
    membership: Membership,
    interface: u32,
    mac: [u8; 6],
) -> io::Result<()> {
    let [a, b, c, d, e, f] = mac;
    let request = libc::packet_mreq {
        mr_ifindex: interface_number(interface)?,
        mr_type: if a & 1 == 0 { UNICAST } else { MULTICAST },
        mr_alen: 6,
        mr_address: [a, b, c, d, e, f, 0, 0],
    };
    let name = match membership {
        Membership::Add => libc::PACKET_ADD_MEMBERSHIP,
        Membership::Drop => libc::PACKET_DROP_MEMBERSHIP,
    };
    set_option(socket, libc::SOL_PACKET, name, &request)
}

/// Binds the socket to all frames of an interface.
pub(crate) fn bind_to_all_frames(socket: &Socket, interface: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: PACKET_FAMILY,
        sll_protocol: ALL_PROTOCOLS.to_be(),
        sll_ifindex: interface_number(interface)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    socket.bind(&socket_address(address))
}

/// Takes the next frame out of the socket.
#[expect(unsafe_code, reason = "recvmsg and its control messages")]
pub(crate) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Message> {
    let mut control = Control([0; CONTROL_SIZE]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zero is a valid sockaddr_ll and a valid msghdr; both consist of integers and pointers.
    let (mut from, mut header): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut from).cast();
    header.msg_namelen = length_of::<libc::sockaddr_ll>();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_SIZE;

    // SAFETY: the header points to `from`, `part`, `buffer` and `control`, with their true sizes; they outlive the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;

    let mut message = Message {
        length,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        packet_type: from.sll_pkttype,
        status: 0,
        stamp: None,
    };
    // SAFETY: the kernel filled in the header, which still points to the living control buffer.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or an aligned header that lies in the control buffer.
        let control_header = unsafe { *next };
        // SAFETY: `next` points to a header in the control buffer; its data follow it.
        let data = unsafe { libc::CMSG_DATA(next) };
        match (control_header.cmsg_level, control_header.cmsg_type) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) if holds::<libc::tpacket_auxdata>(&control_header) => {
                // SAFETY: the message holds as many bytes as the type, all patterns of which are valid.
                let auxiliary: libc::tpacket_auxdata = unsafe { ptr::read_unaligned(data.cast()) };
                message.status = auxiliary.tp_status;
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if holds::<libc::timespec>(&control_header) => {
                // SAFETY: as above.
                let stamp: libc::timespec = unsafe { ptr::read_unaligned(data.cast()) };
                let stamp = Timespec { tv_sec: stamp.tv_sec, tv_nsec: stamp.tv_nsec };
                message.stamp = Some(since_zero(stamp));
            }
            _ => {}
        }
        // SAFETY: both point into the header and control buffer of above.
        next = unsafe { libc::CMSG_NXTHDR(&raw const header, next) };
    }
    Ok(message)
}

/// Room for both control messages, aligned as their headers ask.
#[repr(align(8))]
struct Control([u8; CONTROL_SIZE]);

const CONTROL_SIZE: usize = 128;
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const PACKET_FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const ALL_PROTOCOLS: u16 = libc::ETH_P_ALL as u16;
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const UNICAST: u16 = libc::PACKET_MR_UNICAST as u16;
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const MULTICAST: u16 = libc::PACKET_MR_MULTICAST as u16;

const fn length_of<T>() -> socklen_t {
    const { assert!(size_of::<T>() <= CONTROL_SIZE) };
    #[expect(clippy::cast_possible_truncation, reason = "checked right above")]
    let length = size_of::<T>() as socklen_t;
    length
}

/// Whether the control message has at least the bytes of a `T`.
fn holds<T>(header: &libc::cmsghdr) -> bool {
    header.cmsg_len >= size_of::<libc::cmsghdr>() + size_of::<T>()
}

/// Interface numbers are positive in the kernel; another names no interface.
fn interface_number(interface: u32) -> io::Result<c_int> {
    c_int::try_from(interface).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
}

#[expect(unsafe_code, reason = "a socket address of a family that the library does not know")]
fn socket_address(address: libc::sockaddr_ll) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is one of the platform's socket address types, and smaller than the storage.
    *unsafe { storage.view_as::<libc::sockaddr_ll>() } = address;
    // SAFETY: the storage holds a whole sockaddr_ll with its family, and the length is that of one.
    unsafe { SockAddr::new(storage, length_of::<libc::sockaddr_ll>()) }
}

#[expect(unsafe_code, reason = "setsockopt")]
fn set_option<T>(socket: &Socket, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a living value, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(value).cast(), length_of::<T>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
