/** Numbers of the WireGuard protocol (whitepaper, section 6). Times in milliseconds. */

export const REKEY_AFTER_TIME = 120_000;
export const REJECT_AFTER_TIME = 180_000;
export const REKEY_ATTEMPT_TIME = 90_000;
export const REKEY_TIMEOUT = 5_000;
/** Added to REKEY_TIMEOUT at random, so that two peers that began together do not go on together. */
export const REKEY_JITTER = 333;
export const KEEPALIVE_TIMEOUT = 10_000;
/** A cookie is good for so long, and the secret behind it is made anew as often. */
export const COOKIE_LIFE = 120_000;
/** Keys and half-done handshakes are overwritten when no new session came for so long. */
export const WIPE_AFTER = 3 * REJECT_AFTER_TIME;
/** Initiations without an answer before the peer is given up until there is something to send again. */
export const HANDSHAKE_ATTEMPTS = Math.floor(REKEY_ATTEMPT_TIME / REKEY_TIMEOUT);
/** At most 50 initiations a second from one peer (REQ-57). */
export const INITIATION_GAP = 20;

/** REKEY_AFTER_MESSAGES 2^60, as the high word of the counter. */
export const REKEY_AFTER_HI = 1 << 28;
/** REJECT_AFTER_MESSAGES 2^64 − 2^13 − 1: refused from here on, as two words. */
export const REJECT_AFTER_HI = 0xffffffff;
export const REJECT_AFTER_LO = 0xffffdfff;

export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
export const NONCE_BYTES = 12;
export const INITIATION_BYTES = 148;
export const RESPONSE_BYTES = 92;
export const COOKIE_REPLY_BYTES = 64;
/** In front of the ciphertext of a transport message: type, receiver, counter. */
export const HEADER_BYTES = 16;
/** What a transport message adds to its plaintext. */
export const OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES;
/** Plaintexts are filled up to a multiple of this, as far as the MTU allows. */
export const PADDING = 16;
