// A job, as a kind's function sees it, and the attempt behind it.

import { randomBytes } from 'node:crypto';
import { ERROR, QuernError, encodePayload, idText } from './qjp.mjs';
import { StreamLog } from './stream_log.mjs';

export class Retry extends Error {}
export class Reject extends Error {}
export class Hold extends Error {
    constructor(text, afterMs = 1000) {
        super(text);
        this.afterMs = afterMs;
    }
}

export const OUTCOME = { done: 1, failed: 2, rejected: 3, hold: 4, cancelled: 5 };
// The job's trace, with a span of its own.
function traceOf(trace) {
    const [, id, flags] = /^00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$/.exec(trace) ?? [];
    const random = (bytes) => randomBytes(bytes).toString('hex');
    return `00-${id ?? random(16)}-${random(8)}-${flags ?? '00'}`;
}

// What a kind's function gets.
export class Job {
    #worker;
    #attempt;

    constructor(worker, attempt, payload) {
        this.#worker = worker;
        this.#attempt = attempt;
        this.payload = payload;
        this.id = idText(attempt.job);
        const { kind, tenant, attempt: number, attempts_max: attemptsMax } = attempt.dispatch;
        Object.assign(this, { kind, tenant, attempt: number, attemptsMax });
        this.trace = attempt.trace; // the traceparent with which it calls others
        if (attempt.dispatch.parent) this.parent = idText(attempt.dispatch.parent);
        // it is the `then` of a flow
        if (attempt.dispatch.parent_state) this.siblings = attempt.siblings();
    }

    // Aborted when the job was cancelled, its time is over, or it is another worker's by now.
    get signal() {
        return this.#attempt.abort.signal;
    }

    // How far it is; may be called as often as one likes.
    progress(done, total) {
        this.#attempt.progress = { done, total };
    }

    // Says a piece of text, or an object, to those who listen. Without effect where the kind does
    // not stream.
    delta(piece, channel = 0) {
        this.#worker.delta(this.#attempt, piece, channel);
    }

    // Makes void what was said.
    reset() {
        this.#worker.reset(this.#attempt);
    }

    // Begins another job; resolves when that is durable. Options are those of the client's submit;
    // `then`: it waits until this job and all other children have ended.
    spawn(kind, payload, options = {}) {
        return this.#attempt.spawns.add(kind, payload, options);
    }
}

export class Attempt {
    abort = new AbortController();
    running = false;
    progressAt = 0;

    constructor(dispatch, conversation) {
        this.dispatch = dispatch;
        this.job = dispatch.job;
        this.fence = dispatch.fence;
        this.trace = traceOf(dispatch.trace);
        this.spawns = new Spawns(this, conversation);
        if (dispatch.token !== undefined) this.stream = new StreamLog(this, dispatch.token);
    }

    get ref() {
        return { job: this.job, fence: this.fence };
    }

    siblings() {
        const d = this.dispatch;
        return {
            total: d.siblings ?? 0,
            done: d.siblings_done ?? 0,
            dead: d.siblings_dead ?? 0,
            cancelled: d.siblings_cancelled ?? 0,
            expired: d.siblings_expired ?? 0,
            broken: d.siblings_broken ?? 0,
        };
    }
}

// The children of an attempt. They are said one by one: the first waits for its answer.
class Spawns {
    #attempt;
    #conversation;
    #waiting = [];
    #index = 0;
    #over; // why no more are said

    constructor(attempt, conversation) {
        this.#attempt = attempt;
        this.#conversation = conversation;
    }

    // Resolves when the child is durable.
    add(kind, payload, options) {
        if (this.#over) return Promise.reject(this.#over);
        const bytes = encodePayload(payload);
        const { trace } = this.#attempt;
        const spawn = { bytes, item: { trace, ...options, kind, size: bytes.length || undefined } };
        spawn.promise = new Promise((resolve, reject) => Object.assign(spawn, { resolve, reject }));
        // who awaits it sees it; when the job is cancelled nobody may
        spawn.promise.catch(() => {});
        this.#waiting.push(spawn);
        if (this.#waiting.length === 1) this.say();
        return spawn.promise;
    }

    // All that were said are answered. A result must not go out before.
    async settled() {
        while (this.#waiting.length > 0) await this.#waiting.at(-1).promise;
    }

    stop(reason) {
        this.#over = reason;
        for (const spawn of this.#waiting.splice(0)) spawn.reject(reason);
    }

    // Says the first one, also again: its index makes that a repetition. `unheardSince`: only if it
    // was said before that.
    say(unheardSince = Infinity) {
        const spawn = this.#waiting[0];
        if (!spawn || spawn.saidAt > unheardSince) return;
        spawn.saidAt = performance.now();
        spawn.sequence = this.#conversation.nextSequence();
        const { job, fence } = this.#attempt;
        const item = { ...spawn.item, parent: job, fence, index: this.#index };
        this.#conversation.request(spawn.sequence, 'spawn', [item], spawn.bytes);
    }

    answered({ code, job, fence, index = 0, text }, sequence) {
        const spawn = this.#waiting[0];
        if (!spawn) return;
        const attempt = this.#attempt;
        if (code !== 0) {
            if (sequence === spawn.sequence) this.#next().reject(new QuernError(code, text));
        } else if (job === attempt.job && fence === attempt.fence && index === this.#index) {
            this.#index++;
            this.#next().resolve();
        }
    }

    // An ERROR; false if it is about something else. Some refuse nothing: it is said again.
    failed(error, sequence) {
        if (this.#waiting[0]?.sequence !== sequence) return false;
        const nothing = [ERROR.NO_HELLO, ERROR.STARTING, ERROR.STOPPING, ERROR.READ_ONLY];
        if (!nothing.includes(error.code)) this.#next().reject(error);
        return true;
    }

    #next() {
        const spawn = this.#waiting.shift();
        this.say();
        return spawn;
    }
}

// How an attempt ends whose function threw.
export function endingOf(error, attempt) {
    const text = error instanceof Error ? error.message : String(error);
    const { signal } = attempt.abort;
    if (signal.aborted)
        return {
            outcome: OUTCOME.cancelled,
            error: signal.reason.code,
            text: signal.reason.message,
        };
    if (error instanceof Hold)
        return { outcome: OUTCOME.hold, error: ERROR.RATE_LIMITED, text, afterMs: error.afterMs };
    if (error instanceof Reject)
        return { outcome: OUTCOME.rejected, error: ERROR.JOB_REJECTED, text };
    if (error instanceof QuernError) {
        const { code, retryAfterMs: afterMs = 1000 } = error;
        if (error.roomless) return { outcome: OUTCOME.hold, error: code, text, afterMs };
        if (!error.temporary) return { outcome: OUTCOME.rejected, error: code, text };
    }
    return { outcome: OUTCOME.failed, error: ERROR.JOB_FAILED, text };
}
