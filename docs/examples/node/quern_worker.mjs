// A worker of Quern in Node: import `serve`, give it the kinds, done.
//
//   import { serve, Reject } from './quern_worker.mjs';
//   async function wordCount(job) {
//       if (typeof job.payload.text !== 'string') throw new Reject('payload.text is missing');
//       return { words: job.payload.text.split(/\s+/).filter(Boolean).length };
//   }
//   serve({ word_count: wordCount });
//
// A kind is an async function of a job; what it returns, an object, is the result. It may throw
//   Retry(text)                 it may succeed another time: back-off and again (so does any other error)
//   Reject(text)                it never can: the job is dead
//   Hold(text, afterMs)         it must wait; costs no attempt
// and it should stop soon after job.signal is aborted: within 2 s, or the broker has the process ended.
// A job is given once more where a process or connection was lost: let what it does bear that.
// The functions share one thread: what computes for long belongs into a worker thread (node:worker_threads),
// for while it keeps the thread no heartbeat leaves, and the broker gives the worker up after about 3 s.

import { randomBytes } from 'node:crypto';
import { Publisher } from 'zeromq';
import { Conversation, ERROR, QuernError, Sender, cut, decodePayload, encodePayload, idText, streamEndpoint }
    from './qjp.mjs';
import { POSITION_MS, StreamLog } from './stream_log.mjs';

export class Retry extends Error {}
export class Reject extends Error {}
export class Hold extends Error {
    constructor(text, afterMs = 1000) {
        super(text);
        this.afterMs = afterMs;
    }
}

const OUTCOME = { done: 1, failed: 2, rejected: 3, hold: 4, cancelled: 5 };
const UNHEARD_MS = 10000;
const BYE_MS = 1000;
const PROGRESS_MS = 1000;

const keyOf = ({ job, fence }) => `${job}:${fence}`;

// The job's trace, with a span of its own.
function traceOf(trace) {
    const [, id, flags] = /^00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$/.exec(trace) ?? [];
    return `00-${id ?? randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-${flags ?? '00'}`;
}

// What a kind's function gets.
class Job {
    #worker; #attempt;

    constructor(worker, attempt, payload) {
        this.#worker = worker;
        this.#attempt = attempt;
        this.payload = payload;
        this.id = idText(attempt.job);
        const { kind, tenant, attempt: number, attempts_max: attemptsMax } = attempt.dispatch;
        Object.assign(this, { kind, tenant, attempt: number, attemptsMax });
        this.trace = attempt.trace; // the traceparent with which it calls others
        if (attempt.dispatch.parent) this.parent = idText(attempt.dispatch.parent);
        if (attempt.dispatch.parent_state) this.siblings = attempt.siblings(); // it is the `then` of a flow
    }

    // Aborted when the job was cancelled, its time is over, or it is another worker's by now.
    get signal() {
        return this.#attempt.abort.signal;
    }

    // How far it is; may be called as often as one likes.
    progress(done, total) {
        this.#attempt.progress = { done, total };
    }

    // Says a piece of text, or an object, to those who listen. Without effect where the kind does not stream.
    delta(piece, channel = 0) {
        this.#worker.delta(this.#attempt, piece, channel);
    }

    // Makes void what was said.
    reset() {
        this.#worker.reset(this.#attempt);
    }

    // Begins another job; resolves when that is durable. Options are those of the client's submit; `then`:
    // it waits until this job and all other children have ended.
    spawn(kind, payload, options = {}) {
        return this.#worker.spawn(this.#attempt, kind, payload, options);
    }
}

class Attempt {
    abort = new AbortController();
    spawns = []; // said one by one: the first waits for its answer
    spawned = 0; // index of that one
    running = false;
    progressAt = 0;

    constructor(dispatch) {
        this.dispatch = dispatch;
        this.job = dispatch.job;
        this.fence = dispatch.fence;
        this.trace = traceOf(dispatch.trace);
        if (dispatch.token !== undefined) this.stream = new StreamLog(this, dispatch.token);
    }

    get ref() {
        return { job: this.job, fence: this.fence };
    }

    siblings() {
        const d = this.dispatch;
        return { total: d.siblings ?? 0, done: d.siblings_done ?? 0, dead: d.siblings_dead ?? 0,
            cancelled: d.siblings_cancelled ?? 0, expired: d.siblings_expired ?? 0,
            broken: d.siblings_broken ?? 0 };
    }
}

export class Worker {
    #kinds; #options; #conversation; #publisher; #streamsAt; #timer; #finish;
    #held = new Map();    // job -> Attempt: those that wait for a slot and those that run
    #waiting = [];        // of these, those that no slot has taken
    #busy = 0;            // functions that have not returned
    #unacked = new Map(); // key -> { report, bytes, stream, saidAt }
    #declaring = new Set(); // sequences of DECLARE_KIND
    #draining = false;
    #leaving = false;     // of our own account
    #status = 0;
    #heard = performance.now();

    // kinds: name -> function, or { run, ...defaults of the kind as DECLARE_KIND has them: streams, queue,
    // timeout_ms, attempts_max, ... }. Options: slots, prefetch, broker, name.
    constructor(kinds, options = {}, env = process.env) {
        const wanted = env.QUERN_WORKER_KINDS?.split(',').filter(Boolean) ?? [];
        this.#kinds = new Map();
        for (const name of wanted.length > 0 ? wanted : Object.keys(kinds)) {
            const kind = typeof kinds[name] === 'function' ? { run: kinds[name] } : kinds[name];
            if (!kind?.run) throw new QuernError(ERROR.BAD_CONFIG, `QUERN_WORKER_KINDS: '${name}' is no kind of mine`);
            this.#kinds.set(name, kind);
        }
        if (this.#kinds.size === 0) throw new QuernError(ERROR.BAD_CONFIG, 'a worker needs a kind');
        this.#options = {
            name: options.name ?? 'node',
            broker: options.broker,
            slots: Number(env.QUERN_WORKER_SLOTS || options.slots || 1),
            prefetch: Number(env.QUERN_WORKER_PREFETCH || options.prefetch || 0),
            pool: env.QUERN_WORKER_POOL || options.pool,
            instance: env.QUERN_WORKER_INSTANCE ? Buffer.from(env.QUERN_WORKER_INSTANCE, 'hex') : undefined,
        };
    }

    // Works until it was drained; resolves to the process's exit status.
    async run() {
        const finished = new Promise((resolve) => (this.#finish = resolve));
        this.#conversation = new Conversation(this, 'worker', this.#options);
        this.#timer = setInterval(() => this.#beat(), POSITION_MS);
        const status = await finished;
        clearInterval(this.#timer);
        await this.#conversation.close('drained');
        await this.#publisher?.close(0);
        return status;
    }

    // Takes no more jobs, finishes what it runs, and ends. Status 75: another one shall be started.
    leave(status = 0) {
        if (this.#draining) return;
        this.#status = status;
        this.#leaving = true;
        this.#drain();
        this.#conversation.sayHello(); // with fewer slots, so that nothing more is given to us
    }

    // --- the conversation's side ---

    hello() {
        const running = [...this.#held.values()].flatMap(({ job, fence }) => [job, fence]);
        const unacked = [...this.#unacked.values()].flatMap(({ report }) => [report.job, report.fence]);
        const { pool } = this.#options;
        const slots = this.#leaving ? Math.max(1, this.#held.size) : this.#options.slots;
        const prefetch = this.#draining ? 0 : this.#options.prefetch;
        return { kinds: [...this.#kinds.keys()], slots, prefetch, pool, running, unacked };
    }

    heartbeat() {
        return { busy: this.#running.length, held: this.#held.size + this.#unacked.size,
            rss_bytes: process.memoryUsage.rss() };
    }

    welcomed(welcome, another) {
        if (another) this.#declare();
        this.#connectStreams(welcome, another);
        if (this.#running.length > 0) { // STARTED may have been lost on the way
            this.#conversation.notice('started', this.#running.map((attempt) => attempt.ref));
        }
        for (const kept of this.#unacked.values()) this.#offer(kept);
        for (const attempt of this.#held.values()) this.#saySpawn(attempt);
        this.#leaveIfDone();
    }

    tick() {
        const late = performance.now() - this.#patienceMs();
        for (const kept of this.#unacked.values()) if (kept.saidAt < late) this.#offer(kept);
        for (const attempt of this.#held.values()) if (attempt.spawns[0]?.saidAt < late) this.#saySpawn(attempt);
        this.#leaveIfDone();
    }

    refused(error) {
        console.error(`quern: the broker refuses this worker: ${error.name}: ${error.message}`);
        this.#finish(3);
    }

    received(verb, items, sequence) {
        const one = {
            dispatch: (item) => this.#dispatched(item),
            result_ack: (item) => this.#unacked.delete(keyOf(item)),
            cancel_attempt: (item) => this.#cancelled(item),
            lost: (item) => this.#lost(item),
            recall: (item) => this.#recalled(item),
            drain_worker: () => this.#drain(),
            stream_need: (item) => this.#streamNeeded(item),
            spawned: (item) => this.#spawned(item, sequence),
            outcome: (item) => this.#declared(item, sequence),
            error: (item) => this.#error(item, sequence),
        }[verb];
        if (one) items.forEach(one);
        this.#leaveIfDone();
    }

    get #running() {
        return [...this.#held.values()].filter((attempt) => attempt.running);
    }

    #patienceMs() {
        const { missed_max: missed, heartbeat_ms: ms } = this.#conversation.welcome;
        return missed * ms;
    }

    #error({ code, text }, sequence) {
        const error = new QuernError(code, text);
        for (const attempt of this.#held.values()) {
            if (sequence !== 0 && attempt.spawns[0]?.sequence === sequence) return this.#spawnRefused(attempt, error);
        }
        if (this.#declaring.has(sequence)) return this.#declared({ code, text }, sequence);
        console.error(`quern: the broker says ${error.name}: ${text}`);
    }

    // --- kinds ---

    #declarations() {
        return [...this.#kinds].map(([kind, { run, ...defaults }]) => ({ kind, ...defaults }))
            .filter((each) => Object.keys(each).length > 1);
    }

    // What HELLO cannot say of a kind. It is kept by the broker; saying it again changes nothing.
    #declare() {
        const declarations = this.#declarations();
        if (declarations.length === 0) return;
        const sequence = this.#conversation.nextSequence();
        this.#declaring.add(sequence);
        this.#conversation.request(sequence, 'declare_kind', declarations);
    }

    #declared({ code, text }, sequence) {
        if (!this.#declaring.has(sequence)) return;
        if (code !== 0) console.error(`quern: a kind cannot be declared: ${new QuernError(code, text).message}`);
    }

    // --- attempts ---

    #dispatched(item) {
        const { job, fence } = item;
        const before = this.#held.get(job);
        if (before?.fence >= fence) return;
        if (before) this.#forget(before, 'it was given anew');
        for (const { report } of this.#unacked.values()) {
            if (report.job === job && report.fence < fence) this.#unacked.delete(keyOf(report));
        }
        if (this.#draining) return this.#giveBack({ job, fence });
        const attempt = new Attempt(item);
        this.#held.set(job, attempt);
        this.#waiting.push(attempt);
        this.#fillSlots();
    }

    #fillSlots() {
        while (this.#busy < this.#options.slots && this.#waiting.length > 0) this.#run(this.#waiting.shift());
    }

    async #run(attempt) {
        this.#busy++;
        attempt.running = true;
        this.#conversation.notice('started', [attempt.ref]);
        let ending;
        try {
            ending = await this.#call(attempt);
        } catch (error) {
            ending = endingOf(error, attempt);
        }
        this.#busy--;
        this.#ended(attempt, ending);
        this.#fillSlots();
        this.#leaveIfDone();
    }

    async #call(attempt) {
        let payload;
        try {
            payload = decodePayload(attempt.dispatch.bytes);
        } catch (error) {
            return { outcome: OUTCOME.rejected, error: ERROR.MALFORMED, text: `payload: ${error.message}` };
        }
        const job = new Job(this, attempt, payload);
        attempt.progressTimer = setInterval(() => this.#sayProgress(attempt), PROGRESS_MS / 10);
        try {
            const bytes = encodePayload(await this.#kinds.get(attempt.dispatch.kind).run(job));
            while (attempt.spawns.length > 0 && !attempt.abort.signal.aborted) await attempt.spawns.at(-1).promise;
            const max = this.#conversation.welcome?.result_max ?? Infinity;
            if (bytes.length <= max) return { outcome: OUTCOME.done, bytes };
            const text = `result: ${bytes.length} bytes, at most ${max}`;
            return { outcome: OUTCOME.rejected, error: ERROR.RESULT_TOO_LARGE, text };
        } finally {
            clearInterval(attempt.progressTimer);
        }
    }

    #ended(attempt, { outcome, bytes, error, text, afterMs }) {
        const { job, fence, stream } = attempt;
        if (this.#held.get(job) !== attempt) return; // it is not ours any more: nothing is reported
        this.#held.delete(job);
        stream?.flush(this.#say);
        const report = { job, fence, outcome, size: bytes?.length || undefined, error,
            text: text && cut(text, 4096), retry_after_ms: afterMs };
        if (stream?.wrote) Object.assign(report, { epoch: stream.epoch, seq: stream.events.length });
        const kept = { report, bytes, stream };
        this.#unacked.set(keyOf(report), kept);
        if (this.#leaving) this.#conversation.sayHello(); // one slot less; it is offered after WELCOME
        else this.#offer(kept);
    }

    #offer(kept) {
        kept.saidAt = performance.now();
        this.#conversation.notice('result', [kept.report], kept.bytes);
    }

    // An attempt that is not ours any more: its function is told to stop, nothing is reported.
    #forget(attempt, why) {
        this.#held.delete(attempt.job);
        this.#waiting = this.#waiting.filter((each) => each !== attempt);
        this.#stop(attempt, new QuernError(ERROR.STALE_FENCE, why));
    }

    #stop(attempt, reason) {
        attempt.abort.abort(reason);
        for (const spawn of attempt.spawns.splice(0)) spawn.reject(reason);
    }

    #find({ job, fence }) {
        const attempt = this.#held.get(job);
        return attempt?.fence === fence ? attempt : undefined;
    }

    #cancelled(item) {
        const attempt = this.#find(item);
        if (!attempt || attempt.abort.signal.aborted) return;
        const reason = new QuernError(item.code ?? ERROR.CANCELLED,
            item.code === ERROR.TIMEOUT ? 'its time is over' : 'it was cancelled');
        this.#stop(attempt, reason);
        if (attempt.running) return; // its function ends, and that is reported
        this.#waiting = this.#waiting.filter((each) => each !== attempt);
        this.#ended(attempt, endingOf(reason, attempt));
    }

    #lost(item) {
        const attempt = this.#find(item);
        if (attempt) this.#forget(attempt, 'it is another worker\'s by now');
        this.#unacked.delete(keyOf(item));
    }

    #recalled({ job, fence }) {
        const attempt = this.#find({ job, fence });
        if (attempt?.running) return this.#conversation.notice('started', [{ job, fence }]);
        if (this.#unacked.has(keyOf({ job, fence }))) return;
        if (attempt) this.#forget(attempt, 'it was recalled');
        this.#conversation.notice('returned', [{ job, fence }]);
    }

    #sayProgress(attempt) {
        const now = performance.now();
        if (!attempt.progress || now < attempt.progressAt + PROGRESS_MS) return;
        attempt.progressAt = now;
        this.#conversation.notice('progress', [{ ...attempt.ref, ...attempt.progress }]);
        attempt.progress = null;
    }

    // --- leaving ---

    #drain() {
        if (this.#draining) return;
        this.#draining = true;
        const back = this.#waiting.map((attempt) => attempt.ref);
        for (const attempt of [...this.#waiting]) this.#forget(attempt, 'it was given back');
        if (back.length > 0) this.#conversation.notice('returned', back);
    }

    // No HELLO can offer less than one slot: what comes when nothing runs any more is left to our BYE, for
    // given back it would come again at once.
    #giveBack(ref) {
        if (!this.#leaving || this.#held.size > 0) this.#conversation.notice('returned', [ref]);
    }

    #leaveIfDone() {
        if (this.#conversation.welcome) this.#heard = performance.now();
        if (!this.#draining || this.#held.size + this.#busy > 0) return;
        const silentMs = performance.now() - this.#heard;
        if (this.#unacked.size > 0) {
            if (silentMs > UNHEARD_MS) this.#finish(76); // the broker is gone: results are left behind
        } else if (this.#conversation.welcome || silentMs > BYE_MS) {
            this.#finish(this.#status);
        }
    }

    // --- streams ---

    #connectStreams(welcome, another) {
        const endpoint = streamEndpoint(this.#conversation.endpoint, welcome);
        if (endpoint === this.#streamsAt && !another) return;
        this.#publisher?.close(0);
        this.#publisher = undefined;
        this.#streamsAt = endpoint;
        if (!endpoint) return;
        const socket = new Publisher({ linger: 1000, sendHighWaterMark: 10000, reconnectInterval: 50 });
        socket.connect(endpoint);
        this.#publisher = new Sender(socket);
    }

    #say = (frame) => this.#publisher?.send(frame);

    delta(attempt, piece, channel) {
        const { stream } = attempt;
        if (!stream || this.#held.get(attempt.job) !== attempt) return;
        const max = this.#conversation.welcome?.stream_max ?? Infinity;
        if (stream.said === stream.events.length) setImmediate(() => stream.flush(this.#say));
        if (typeof piece === 'string') stream.addText(channel, piece, max);
        else stream.addData(channel, encodePayload(piece), max);
    }

    reset(attempt) {
        if (this.#held.get(attempt.job) === attempt) attempt.stream?.reset();
    }

    #streams() {
        const kept = [...this.#unacked.values(), ...this.#held.values()];
        return kept.map(({ stream }) => stream).filter(Boolean);
    }

    #beat() {
        this.#leaveIfDone();
        const now = performance.now();
        const everyMs = this.#conversation.welcome?.heartbeat_ms ?? 1000;
        for (const stream of this.#streams()) stream.position(this.#say, now, everyMs);
    }

    #streamNeeded(item) {
        const stream = this.#find(item)?.stream ?? this.#unacked.get(keyOf(item))?.stream;
        stream?.needed(item);
        stream?.flush(this.#say);
    }

    // --- children ---

    spawn(attempt, kind, payload, options) {
        if (this.#held.get(attempt.job) !== attempt || attempt.abort.signal.aborted) {
            return Promise.reject(attempt.abort.signal.reason ?? new QuernError(ERROR.USAGE, 'the job has ended'));
        }
        const spawn = { bytes: encodePayload(payload) };
        spawn.item = { trace: attempt.trace, ...options, kind, size: spawn.bytes.length || undefined };
        spawn.promise = new Promise((resolve, reject) => Object.assign(spawn, { resolve, reject }));
        spawn.promise.catch(() => {}); // who awaits it sees it; nobody may do so when the job is cancelled
        attempt.spawns.push(spawn);
        if (attempt.spawns.length === 1) this.#saySpawn(attempt);
        return spawn.promise;
    }

    #saySpawn(attempt) {
        const spawn = attempt.spawns[0];
        if (!spawn) return;
        spawn.saidAt = performance.now();
        spawn.sequence = this.#conversation.nextSequence();
        const item = { ...spawn.item, parent: attempt.job, fence: attempt.fence, index: attempt.spawned };
        this.#conversation.request(spawn.sequence, 'spawn', [item], spawn.bytes);
    }

    #spawned(item, sequence) {
        for (const attempt of this.#held.values()) {
            const spawn = attempt.spawns[0];
            if (!spawn) continue;
            const named = item.job === attempt.job && item.fence === attempt.fence
                && (item.index ?? 0) === attempt.spawned;
            if (item.code === 0 && named) {
                attempt.spawned++;
                attempt.spawns.shift().resolve();
                this.#saySpawn(attempt);
            } else if (item.code !== 0 && sequence === spawn.sequence) {
                this.#spawnRefused(attempt, new QuernError(item.code, item.text));
            }
        }
    }

    #spawnRefused(attempt, error) {
        const nothing = [ERROR.NO_HELLO, ERROR.STARTING, ERROR.STOPPING, ERROR.READ_ONLY];
        if (nothing.includes(error.code)) return; // it is said again
        attempt.spawns.shift().reject(error);
        this.#saySpawn(attempt);
    }
}

// How an attempt ends whose function threw.
function endingOf(error, attempt) {
    const text = error instanceof Error ? error.message : String(error);
    const { signal } = attempt.abort;
    if (signal.aborted) return { outcome: OUTCOME.cancelled, error: signal.reason.code, text: signal.reason.message };
    if (error instanceof Hold) return { outcome: OUTCOME.hold, error: ERROR.RATE_LIMITED, text, afterMs: error.afterMs };
    if (error instanceof Reject) return { outcome: OUTCOME.rejected, error: ERROR.JOB_REJECTED, text };
    if (error instanceof QuernError) {
        if (!error.temporary) return { outcome: OUTCOME.rejected, error: error.code, text };
        return { outcome: OUTCOME.hold, error: error.code, text, afterMs: error.retryAfterMs ?? 1000 };
    }
    return { outcome: OUTCOME.failed, error: ERROR.JOB_FAILED, text };
}

// Runs a worker as this process: SIGTERM and SIGINT let it finish what runs, a second one ends it at once.
export async function serve(kinds, options) {
    let worker;
    try {
        worker = new Worker(kinds, options);
    } catch (error) {
        console.error(`quern: ${error.message}`);
        process.exit(2);
    }
    const stop = () => {
        process.once('SIGTERM', () => process.exit(1));
        process.once('SIGINT', () => process.exit(1));
        worker.leave();
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
    process.exit(await worker.run());
}
