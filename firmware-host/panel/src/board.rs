//! The LM3S6965's registers that this firmware uses: two UARTs, one port of pins, the hardware watchdog, the stack.
//!
//! Not a driver library. Invariant: this is the only file with `unsafe`, and every address in it is a register of
//! the data sheet or lies between two symbols of the linker.
#![allow(unsafe_code)]

use core::convert::Infallible;
use core::mem::MaybeUninit;
use core::ptr::{read_volatile, write_volatile};
use cortex_m_rt::{STACK_PAINT_VALUE, heap_start};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use r2d_firmware_host::light::Light;
use r2d_firmware_host::message::Permit;
use r2d_firmware_host::panel::Outputs;

const SYSTEM_CONTROL: usize = 0x400F_E000;
const PORT_B: usize = 0x4000_5000;
const WATCHDOG: usize = 0x4000_0000;

/// The system clock out of reset as QEMU has it: 200 MHz over 16. A chip starts on its internal oscillator, and its UART's pins
/// have to be given to it first: whoever ports this to a board does both in `start`.
pub const CLOCK_HZ: u32 = 12_500_000;
/// The hardware watchdog restarts the panel after two of these without being fed: half a second in all.
const WATCHDOG_CYCLES: u32 = CLOCK_HZ / 4;
const BAUD: u32 = 115_200;

fn read(register: usize) -> u32 {
    // SAFETY: callers pass addresses of registers only; they are aligned, and reading them upsets nothing here.
    unsafe { read_volatile(register as *const u32) }
}

fn write(register: usize, value: u32) {
    // SAFETY: as above; none of these registers moves memory.
    unsafe { write_volatile(register as *mut u32, value) }
}

/// Gives the clock to what is used, and sets the pins: all off.
pub fn start() {
    write(SYSTEM_CONTROL + 0x100, read(SYSTEM_CONTROL + 0x100) | 1 << 3); // watchdog
    write(SYSTEM_CONTROL + 0x104, read(SYSTEM_CONTROL + 0x104) | 0b11); // UART 0 and 1
    write(SYSTEM_CONTROL + 0x108, read(SYSTEM_CONTROL + 0x108) | 0b11); // ports A and B
    set_pins(0);
    write(PORT_B + 0x400, 0x1F); // direction: out
    write(PORT_B + 0x51C, 0x1F); // digital
    write(WATCHDOG, WATCHDOG_CYCLES);
    write(WATCHDOG + 0x008, 0b11); // count, and restart at the second time-out
}

/// Tells the hardware watchdog that the loop has come round, and that its clock goes.
pub fn feed_watchdog() {
    write(WATCHDOG + 0x00C, 1);
}

fn set_pins(value: u32) {
    // The address masks the pins that are written: bits 0 to 4.
    write(PORT_B + (0x1F << 2), value);
}

/// Relay on pin B0; red, yellow, green and blue on B1 to B4.
pub fn set_outputs(outputs: Outputs, blink: bool) {
    let relay = u32::from(outputs.permit == Permit::Open);
    let lamp = match outputs.light {
        Light::Red => 1 << 1,
        Light::Yellow => 1 << 2,
        Light::Green => 1 << 3,
        Light::Blue => 1 << 4,
        Light::Latched => u32::from(blink) << 2,
    };
    set_pins(relay | lamp);
}

/// A UART.
pub struct Uart(usize);

impl Uart {
    /// The line to the host.
    pub fn line() -> Self {
        Self::start(0x4000_C000)
    }

    /// Stands for the buttons: QEMU's board has none that a test could press.
    pub fn keys() -> Self {
        Self::start(0x4000_D000)
    }

    fn start(base: usize) -> Self {
        write(base + 0x30, 0);
        // The divisor in 64ths, rounded.
        let divisor = (CLOCK_HZ * 8 / BAUD).div_ceil(2);
        write(base + 0x24, divisor >> 6);
        write(base + 0x28, divisor & 0x3F);
        write(base + 0x2C, 0x70); // 8 bits, FIFOs
        write(base + 0x30, 0x301); // on, both ways
        Self(base)
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(read(self.0 + 0x18) & 1 << 4 == 0)
    }
}

impl Read for Uart {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let mut n = 0;
        for byte in bytes {
            // The first byte is waited for, as the trait has it; the pump asks before.
            while !self.read_ready()? {
                if n > 0 {
                    return Ok(n);
                }
            }
            *byte = read(self.0) as u8;
            n += 1;
        }
        Ok(n)
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(read(self.0 + 0x18) & 1 << 5 == 0)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let mut n = 0;
        for byte in bytes {
            while !self.write_ready()? {
                if n > 0 {
                    return Ok(n);
                }
            }
            write(self.0, u32::from(*byte));
            n += 1;
        }
        Ok(n)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while read(self.0 + 0x18) & 1 << 3 != 0 {}
        Ok(())
    }
}

/// Counts the starts that RAM survives. At power-up RAM holds chance, which is as good a beginning as any.
pub fn count_start() -> u32 {
    #[unsafe(link_section = ".uninit.STARTS")]
    static mut STARTS: MaybeUninit<u32> = MaybeUninit::uninit();
    let starts = (&raw mut STARTS).cast::<u32>();
    // SAFETY: called from the main loop's start only; the memory is ours, and any bits are a u32. The read is
    // volatile because nothing that the compiler knows of has written it.
    unsafe {
        let n = read_volatile(starts).wrapping_add(1);
        write_volatile(starts, n);
        n
    }
}

/// Looks how far down the stack has ever come, some words at a time.
pub struct StackWatch {
    bottom: usize,
    at: usize,
}

impl StackWatch {
    /// Begins at the end of the static memory; everything above was painted before `main`.
    pub fn new() -> Self {
        let bottom = heap_start() as usize;
        Self { bottom, at: bottom }
    }

    /// Looks at some words; gives the bytes that no stack has ever reached, each time it has been all through.
    pub fn look(&mut self) -> Option<usize> {
        for _ in 0..32 {
            if read(self.at) != STACK_PAINT_VALUE {
                let free = self.at - self.bottom;
                self.at = self.bottom;
                return Some(free);
            }
            self.at += 4;
        }
        None
    }

    /// The bytes between static memory and the top of RAM.
    pub fn room(&self) -> usize {
        unsafe extern "C" {
            static _stack_start: u32;
        }
        (&raw const _stack_start) as usize - self.bottom
    }
}
