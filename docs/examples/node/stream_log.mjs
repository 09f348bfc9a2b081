// What an attempt says while it runs (section 12 of ../../protocol.md).

import { ERROR, QuernError, cut, encode, toEnvelope } from './qjp.mjs';

const EVENT_BYTES_MAX = 64 * 1024;
const EVENTS_BYTES_MAX = 128 * 1024;
export const POSITION_MS = 100;

// What an attempt has written, kept until its result is acknowledged: the broker may ask for it
// again.
export class StreamLog {
    events = []; // of this epoch, encoded; the first has number 1
    said = 0;
    bytes = 0;
    quietSince = 0;
    positionAt = 0;

    constructor(attempt, token) {
        this.attempt = attempt;
        this.epoch = attempt.fence;
        this.token = token;
        this.wrote = false;
    }

    // A piece of text, as several events where it is long.
    addText(channel, text, bytesMax) {
        for (let rest = text; rest !== ''; ) {
            const part = cut(rest, EVENT_BYTES_MAX);
            this.#add([0, channel, part], bytesMax);
            rest = rest.slice(part.length);
        }
    }

    // One msgpack map; it travels as bytes.
    addData(channel, map, bytesMax) {
        if (map.length > EVENT_BYTES_MAX) {
            throw new QuernError(
                ERROR.TOO_LARGE,
                `an event of ${map.length} bytes, at most ${EVENT_BYTES_MAX}`,
            );
        }
        this.#add([1, channel, map], bytesMax);
    }

    #add(parts, bytesMax) {
        const event = encode(parts);
        this.bytes += event.length;
        if (this.bytes > bytesMax)
            throw new QuernError(ERROR.TOO_LARGE, `its stream is over ${bytesMax} bytes`);
        this.events.push(event);
        this.wrote = true;
    }

    reset() {
        if (!this.wrote) return;
        if (this.epoch - this.attempt.fence >= 255n)
            throw new QuernError(ERROR.BAD_VALUE, 'at most 255 resets');
        this.epoch++;
        this.events = [];
        this.said = this.bytes = this.positionAt = 0;
    }

    #message(seq, events) {
        const { job } = this.attempt;
        const head = { job, epoch: this.epoch, seq, count: events.length, token: this.token };
        return Buffer.concat([encode(toEnvelope('stream', head)), ...events]);
    }

    // Says what was not said yet.
    flush(say) {
        while (this.said < this.events.length) {
            let bytes = 0;
            let end = this.said;
            while (
                end < this.events.length &&
                (bytes += this.events[end].length) <= EVENTS_BYTES_MAX
            )
                end++;
            say(this.#message(this.said + 1, this.events.slice(this.said, end)));
            this.said = end;
            this.quietSince = performance.now();
            this.positionAt = 0;
        }
    }

    // Says where it stands: soon after it has fallen silent, then once in a while.
    position(say, now = Infinity, everyMs = 0) {
        if (!this.wrote || now < this.quietSince + POSITION_MS) return;
        if (this.positionAt !== 0 && now < this.positionAt + everyMs) return;
        this.positionAt = performance.now();
        say(this.#message(this.said, []));
    }

    needed({ token, epoch, seq }) {
        this.token = token;
        this.said = epoch === this.epoch ? Math.min(seq ?? 0, this.events.length) : 0;
        this.positionAt = 0;
    }
}
