//! The calls into llama.cpp that its safe wrapper lacks: its log and its list of CPU features.
//!
//! The one home of `unsafe` in the workspace. Nothing here touches a model or a context.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, Once};

/// The last lines that llama.cpp reported as errors, at most [`MAX_WORDS`] bytes.
static WORDS: Mutex<String> = Mutex::new(String::new());
const MAX_WORDS: usize = 512;

unsafe extern "C" fn keep_errors(level: ggml_sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if level != ggml_sys::GGML_LOG_LEVEL_ERROR || text.is_null() {
        return;
    }
    // SAFETY: llama.cpp hands over a NUL-terminated string that lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A panic must not cross into C; a poisoned lock only means that some words are lost.
    if let Ok(mut words) = WORDS.lock()
        && words.len() + text.len() < MAX_WORDS
    {
        words.push_str(&text);
    }
}

/// Sends llama.cpp's log here instead of to stderr; only errors are kept.
pub(super) fn capture_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the callback is a static function without state of its own, safe to call from any thread.
        unsafe { ggml_sys::llama_log_set(Some(keep_errors), std::ptr::null_mut()) };
    });
    if let Ok(mut words) = WORDS.lock() {
        words.clear();
    }
}

/// What went wrong, in llama.cpp's words, as one line; the words are taken.
pub(super) fn last_words() -> Option<String> {
    let words = std::mem::take(&mut *WORDS.lock().ok()?);
    let line = words.lines().map(str::trim).find(|l| !l.is_empty())?;
    // "llama_model_load: error loading model: …": the function's name helps nobody.
    let line = line.split_once(": ").filter(|(f, _)| !f.contains(' ')).map_or(line, |(_, rest)| rest);
    Some(line.to_owned())
}

/// The CPU features that the kernels in use were compiled with, as llama.cpp names them.
#[must_use]
pub fn cpu_features() -> Vec<String> {
    capture_log();
    // SAFETY: the function returns a pointer to a static NUL-terminated string.
    let text = unsafe {
        let text = ggml_sys::llama_print_system_info();
        if text.is_null() {
            return Vec::new();
        }
        CStr::from_ptr(text).to_string_lossy()
    };
    // "CPU : SSE3 = 1 | AVX2 = 1 | … |"
    text.split(['|', ':'])
        .filter_map(|part| part.split_once('='))
        .filter(|(_, value)| value.trim() != "0")
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}
