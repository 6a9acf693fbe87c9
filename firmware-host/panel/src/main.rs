//! A panel: line on UART 0, keys on UART 1 in place of buttons, relay and lamps on pins. Built with the
//! feature `semihosting` it tells every change to a debugger, one line each, for tests to read.
//!
//! Not where anything is decided: that is the library's `Panel`. Invariant: in every turn of the loop the
//! outputs are set to what the library says at that tick; a loop that does not come round, and one whose
//! clock stands still, is restarted by the hardware watchdog, and a panel that was restarted is latched.
#![no_std]
#![no_main]

mod board;
mod console;

use board::{StackWatch, Uart};
use console::Console;
use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use embedded_io::{Read, ReadReady};
use r2d_firmware_host::Id;
use r2d_firmware_host::button::Button;
use r2d_firmware_host::panel::{Outputs, Panel, PressError};
use r2d_firmware_host::pump::Pump;
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::Tick;

/// Milliseconds since start; it wraps after 49 days, which [`Clock`] makes good.
static MILLISECONDS: AtomicU32 = AtomicU32::new(0);

/// A stack that leaves less than this is a fault. Measured: it takes 8 KiB of 64.
const STACK_RESERVE: usize = 32 * 1024;
/// So many turns without a byte go by before the core sleeps to the next tick.
const IDLE_TURNS: u32 = 64;

/// Ticks that do not wrap.
struct Clock {
    last: u32,
    now: Tick,
}

impl Clock {
    fn now(&mut self) -> Tick {
        let new = MILLISECONDS.load(Ordering::Relaxed);
        self.now = Tick(self.now.0 + u64::from(new.wrapping_sub(self.last)));
        self.last = new;
        self.now
    }
}

#[entry]
fn main() -> ! {
    board::start();
    // Both are constants that are ids; a panel without them stays off, and the hardware watchdog tries again.
    let (Ok(device), Ok(station), Some(core)) =
        (Id::parse("panel-1"), Id::parse("press-4"), cortex_m::Peripherals::take())
    else {
        stay_off("cannot start")
    };
    let mut systick = core.SYST;
    systick.set_clock_source(SystClkSource::Core);
    systick.set_reload(board::CLOCK_HZ / 1_000 - 1);
    systick.clear_current();
    systick.enable_interrupt();
    systick.enable_counter();

    let start = board::count_start();
    let console = Console::new(&device, &station);
    run(Panel::new(device, station, Nonce(start)), console)
}

fn run(mut panel: Panel, mut console: Console) -> ! {
    let mut line = Uart::line();
    let mut keys = Uart::keys();
    let mut pump = Pump::default();
    let mut clock = Clock { last: 0, now: Tick(0) };
    let mut stack = StackWatch::new();
    let mut fed = clock.now;
    let mut idle = 0;
    loop {
        let now = clock.now();
        // A turn alone earns nothing: where time stands, no verdict expires and no beat is missed, so an open
        // gate would stay open for good.
        if now > fed {
            board::feed_watchdog();
            fed = now;
        }
        idle = if line.read_ready() == Ok(true) { 0 } else { idle + 1 };
        let Ok(()) = pump.turn(now, &mut line, &mut panel, |event| console.tell(now, &event));
        if keys.read_ready() == Ok(true) {
            let mut key = [0];
            let Ok(_) = keys.read(&mut key);
            press(&mut panel, now, key[0], &mut console);
        }
        let outputs = panel.outputs(now);
        board::set_outputs(outputs, now.0 % 1_000 < 500);
        console.show(now, &panel);
        if let Some(free) = stack.look() {
            console.show_stack(now, stack.room() - free, free);
            if free < STACK_RESERVE {
                panel.fail();
            }
        }
        if idle > IDLE_TURNS {
            cortex_m::asm::wfi();
        }
    }
}

fn press(panel: &mut Panel, now: Tick, key: u8, console: &mut Console) {
    let button = match key {
        b's' => Button::Stop,
        b'r' => Button::Reset,
        b'a' => Button::Approve,
        b'1'..=b'9' => Button::Ask(key - b'0'),
        #[cfg(feature = "semihosting")]
        // A drill: the loop does not come round any more, and the hardware watchdog has to see it.
        b'h' => {
            console.note(now, "hangs");
            loop {
                core::hint::spin_loop();
            }
        }
        #[cfg(feature = "semihosting")]
        // Another: the loop goes on, and no interrupt moves its clock any more.
        b't' => {
            console.note(now, "stops its clock");
            cortex_m::interrupt::disable();
            return;
        }
        _ => return,
    };
    match panel.press(now, button) {
        Ok(()) => {}
        Err(PressError::Send(_)) => console.note(now, "press not told to the host"),
        Err(PressError::StopUnheard) => console.note(now, "the host has not heard the stop yet"),
        Err(_) => console.note(now, "press without effect"),
    }
}

/// Everything off until the hardware watchdog restarts the panel.
fn stay_off(why: &str) -> ! {
    // Before the word: it stops the core, and nobody knows for how long.
    board::set_outputs(Outputs::default(), false);
    console::cry(why);
    loop {
        core::hint::spin_loop();
    }
}

#[exception]
fn SysTick() {
    // Only this handler writes it, so load and store need not be one.
    MILLISECONDS.store(MILLISECONDS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    stay_off("panics")
}
