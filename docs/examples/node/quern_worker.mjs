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
//   Retry(text)           it may succeed another time: back-off and again (so does any other error)
//   Reject(text)          it never can: the job is dead
//   Hold(text, afterMs)   it must wait; costs no attempt
// and it should stop soon after job.signal is aborted: within 2 s, or the process is ended. A job
// is given once more where a process or connection was lost: let what it does bear that.
//
// The functions share one thread: what computes for long belongs into a thread of its own
// (node:worker_threads), for while it keeps this one no heartbeat leaves, and the broker gives the
// worker up after about 3 s.

import { Publisher } from 'zeromq';
import { Attempt, Job, OUTCOME, endingOf } from './job.mjs';
import { Conversation, ERROR, QuernError, Sender, cut, streamEndpoint } from './qjp.mjs';
import { decodePayload, encodePayload } from './qjp.mjs';
import { POSITION_MS } from './stream_log.mjs';

export { Hold, Reject, Retry } from './job.mjs';

const UNHEARD_MS = 10000;
const BYE_MS = 1000;
const PROGRESS_MS = 1000;

const keyOf = ({ job, fence }) => `${job}:${fence}`;

export class Worker {
    #kinds;
    #options;
    #conversation;
    #publisher;
    #streamsAt;
    #timer;
    #finish;
    #held = new Map(); // job -> Attempt: those that wait for a slot and those that run
    #waiting = []; // of these, those that no slot has taken
    #busy = 0; // functions that have not returned
    #unacked = new Map(); // key -> { report, bytes, stream, saidAt }
    #declared = false; // this life of the broker has heard DECLARE_KIND
    #declaring = 0; // the sequence of that
    #draining = false;
    #leaving = false; // of our own account
    #status = 0;
    #heard = performance.now();

    // kinds: name -> function, or { run, ...defaults of the kind as DECLARE_KIND has them: streams,
    // queue, timeout_ms, attempts_max, ... }. Options: slots, prefetch, broker, name.
    constructor(kinds, options = {}, env = process.env) {
        const wanted = env.QUERN_WORKER_KINDS?.split(',').filter(Boolean) ?? [];
        this.#kinds = new Map();
        for (const name of wanted.length > 0 ? wanted : Object.keys(kinds)) {
            const kind = typeof kinds[name] === 'function' ? { run: kinds[name] } : kinds[name];
            if (!kind?.run)
                throw new QuernError(
                    ERROR.BAD_CONFIG,
                    `QUERN_WORKER_KINDS: '${name}' is no kind of mine`,
                );
            this.#kinds.set(name, kind);
        }
        if (this.#kinds.size === 0) throw new QuernError(ERROR.BAD_CONFIG, 'a worker needs a kind');
        this.#options = {
            name: options.name ?? 'node',
            broker: options.broker,
            keyFile: options.keyFile,
            slots: Number(env.QUERN_WORKER_SLOTS || options.slots || 1),
            prefetch: Number(env.QUERN_WORKER_PREFETCH || options.prefetch || 0),
            pool: env.QUERN_WORKER_POOL || options.pool,
            instance: env.QUERN_WORKER_INSTANCE
                ? Buffer.from(env.QUERN_WORKER_INSTANCE, 'hex')
                : undefined,
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
        const unacked = [...this.#unacked.values()].flatMap(({ report }) => [
            report.job,
            report.fence,
        ]);
        const { pool } = this.#options;
        const slots = this.#leaving ? Math.max(1, this.#held.size) : this.#options.slots;
        const prefetch = this.#draining ? 0 : this.#options.prefetch;
        return { kinds: [...this.#kinds.keys()], slots, prefetch, pool, running, unacked };
    }

    heartbeat() {
        return {
            busy: this.#running.length,
            held: this.#held.size + this.#unacked.size,
            rss_bytes: process.memoryUsage.rss(),
        };
    }

    welcomed(welcome, another) {
        if (another) this.#declared = false;
        if (!this.#declared) this.#declare();
        this.#connectStreams(welcome, another);
        if (this.#running.length > 0) {
            // STARTED may have been lost on the way
            this.#conversation.notice(
                'started',
                this.#running.map((attempt) => attempt.ref),
            );
        }
        for (const kept of this.#unacked.values()) this.#offer(kept);
        for (const attempt of this.#held.values()) attempt.spawns.say();
        this.#leaveIfDone();
    }

    tick() {
        const late = performance.now() - this.#patienceMs();
        for (const kept of this.#unacked.values()) if (kept.saidAt < late) this.#offer(kept);
        for (const attempt of this.#held.values()) attempt.spawns.say(late);
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
            spawned: (item) => this.#held.forEach(({ spawns }) => spawns.answered(item, sequence)),
            outcome: (item) => this.#declarationHeard(item, sequence),
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
        for (const { spawns } of this.#held.values()) if (spawns.failed(error, sequence)) return;
        if (sequence !== 0 && sequence === this.#declaring)
            return this.#declarationHeard({ code, text }, sequence);
        console.error(`quern: the broker says ${error.name}: ${text}`);
    }

    // --- kinds ---

    #declarations() {
        return [...this.#kinds]
            .map(([kind, { run, ...defaults }]) => ({ kind, ...defaults }))
            .filter((each) => Object.keys(each).length > 1);
    }

    // What HELLO cannot say of a kind. It is kept by the broker; saying it again changes nothing.
    #declare() {
        const declarations = this.#declarations();
        if (declarations.length === 0) return;
        this.#declaring = this.#conversation.nextSequence();
        this.#conversation.request(this.#declaring, 'declare_kind', declarations);
    }

    #declarationHeard({ code, text }, sequence) {
        if (sequence !== this.#declaring) return;
        this.#declared = true;
        if (code !== 0) console.error(`quern: a kind cannot be declared: ${text}`);
    }

    // --- attempts ---

    #dispatched(item) {
        const { job, fence } = item;
        if (!this.#conversation.welcome) return; // our HELLO does not name it: it goes back
        const before = this.#held.get(job);
        if (before?.fence >= fence) return;
        if (before) this.#forget(before, 'it was given anew');
        for (const { report } of this.#unacked.values()) {
            if (report.job === job && report.fence < fence) this.#unacked.delete(keyOf(report));
        }
        if (this.#draining) return this.#giveBack({ job, fence });
        const attempt = new Attempt(item, this.#conversation);
        this.#held.set(job, attempt);
        this.#waiting.push(attempt);
        this.#fillSlots();
    }

    #fillSlots() {
        while (this.#busy < this.#options.slots && this.#waiting.length > 0)
            this.#run(this.#waiting.shift());
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
            return {
                outcome: OUTCOME.rejected,
                error: ERROR.MALFORMED,
                text: `payload: ${error.message}`,
            };
        }
        const job = new Job(this, attempt, payload);
        attempt.progressTimer = setInterval(() => this.#sayProgress(attempt), PROGRESS_MS / 10);
        try {
            const bytes = encodePayload(await this.#kinds.get(attempt.dispatch.kind).run(job));
            if (!attempt.abort.signal.aborted) await attempt.spawns.settled();
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
        attempt.spawns.stop(new QuernError(ERROR.USAGE, 'the job has ended'));
        if (this.#held.get(job) !== attempt) return; // it is not ours any more: nothing is reported
        this.#held.delete(job);
        stream?.flush(this.#say);
        const report = {
            job,
            fence,
            outcome,
            size: bytes?.length || undefined,
            error,
            text: text && cut(text, 4096),
            retry_after_ms: afterMs,
        };
        if (stream?.wrote)
            Object.assign(report, { epoch: stream.epoch, seq: stream.events.length });
        const kept = { report, bytes, stream };
        this.#unacked.set(keyOf(report), kept);
        if (this.#leaving)
            this.#conversation.sayHello(); // one slot less; it is offered after WELCOME
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
        attempt.spawns.stop(reason);
    }

    #find({ job, fence }) {
        const attempt = this.#held.get(job);
        return attempt?.fence === fence ? attempt : undefined;
    }

    #cancelled(item) {
        const attempt = this.#find(item);
        if (!attempt || attempt.abort.signal.aborted) return;
        const reason = new QuernError(
            item.code ?? ERROR.CANCELLED,
            item.code === ERROR.TIMEOUT ? 'its time is over' : 'it was cancelled',
        );
        this.#stop(attempt, reason);
        if (attempt.running) return; // its function ends, and that is reported
        this.#waiting = this.#waiting.filter((each) => each !== attempt);
        this.#ended(attempt, endingOf(reason, attempt));
    }

    #lost(item) {
        const attempt = this.#find(item);
        if (attempt) this.#forget(attempt, "it is another worker's by now");
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

    // No HELLO can offer less than one slot: what comes when nothing runs any more is left to our
    // BYE, for given back it would come again at once.
    #giveBack(ref) {
        if (!this.#leaving || this.#held.size > 0) this.#conversation.notice('returned', [ref]);
    }

    #leaveIfDone() {
        if (this.#conversation.welcome) this.#heard = performance.now();
        if (!this.#draining || this.#held.size + this.#busy > 0) return;
        const silentMs = performance.now() - this.#heard;
        if (this.#unacked.size > 0) {
            // the broker is gone: results are left behind
            if (silentMs > UNHEARD_MS) this.#finish(76);
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
        const socket = new Publisher({
            ...this.#conversation.keys,
            linger: 1000,
            sendHighWaterMark: 10000,
            reconnectInterval: 50,
        });
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
        if (this.#held.get(attempt.job) !== attempt) return;
        attempt.stream?.reset();
        attempt.stream?.position(this.#say);
    }

    #beat() {
        this.#leaveIfDone();
        const now = performance.now();
        const everyMs = this.#conversation.welcome?.heartbeat_ms ?? 1000;
        for (const { stream } of this.#held.values()) stream?.position(this.#say, now, everyMs);
    }

    #streamNeeded(item) {
        const stream = this.#find(item)?.stream ?? this.#unacked.get(keyOf(item))?.stream;
        stream?.needed(item);
        stream?.flush(this.#say);
    }
}

// Runs a worker as this process: SIGTERM and SIGINT let it finish what runs, a second one ends it
// at once.
export async function serve(kinds, options) {
    const worker = await orExit(() => new Worker(kinds, options));
    const stop = () => {
        process.once('SIGTERM', () => process.exit(1));
        process.once('SIGINT', () => process.exit(1));
        worker.leave();
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
    process.exit(await orExit(() => worker.run()));
}

// Settings that cannot be: another start would end in the same way.
async function orExit(begin) {
    try {
        return await begin();
    } catch (error) {
        console.error(`quern: ${error.message}`);
        process.exit(2);
    }
}
