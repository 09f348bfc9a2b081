// A client of Quern in Node.
//
//   const client = new Client();            // the broker of QUERN_BROKER, QUERN_DATA or .quern
//   const id = await client.submit('word_count', { text: 'a b' }, { unique: 'page-7' });
//   const { state, result } = await client.wait(id);
//   await client.close();
//
// It reconnects by itself: what was asked is asked again, and done once. Where the broker was
// started anew before it answered, a submission without `unique` is rejected with UNKNOWN_OUTCOME:
// perhaps it was taken.
// Streams are heard by gateways and operators only: new Client({ role: 'operator' }).

import { Subscriber } from 'zeromq';
import {
    Conversation,
    ERROR,
    QuernError,
    STATES,
    decodeAll,
    decodePayload,
    encode,
    encodePayload,
    fromEnvelope,
    idOf,
    idText,
    streamEndpoint,
    toEnvelope,
} from './qjp.mjs';

const DURABILITY = { sync: 0, async: 1, none: 2 };
const QUERIES = new Set(['get_job', 'list_jobs', 'watch_job', 'attach', 'detach']);
const REATTACH_MS = 1000;

// job_info and finished, as people want them.
function told(item) {
    const { code, bytes, resultBytes, size, result_size, ...info } = item;
    for (const field of ['id', 'parent', 'root', 'fence', 'group', 'next']) {
        if (info[field] !== undefined) info[field] = idText(info[field]);
    }
    if (info.state !== undefined) info.state = STATES[info.state];
    return info;
}

export class Client {
    #conversation;
    #subscriber;
    #failure;
    #pending = new Map(); // sequence -> what was asked and has no full answer yet
    #queue = []; // what is asked when there are fewer than outstanding_max of those
    #watches = new Map(); // id -> { promise, resolve, reject, sequence }
    #early = new Map(); // ends that came before the answer to their SUBMIT
    #streams = new Map(); // id -> StreamReader

    // Options: role (client), broker (an endpoint, the path of a socket or a data folder), keyFile,
    // name.
    constructor({ role = 'client', ...options } = {}) {
        this.#conversation = new Conversation(this, role, { name: 'node', ...options });
    }

    // Resolves to the id of the job, once the broker has taken it. Options are the fields of
    // `submit` in messages.md: queue, priority, key, unique, delay_ms, ... and children: [[kind,
    // payload, options], ...].
    async submit(kind, payload, options) {
        const [answer] = await this.submitMany([[kind, payload, options]]);
        if (answer.error) throw answer.error;
        return answer.id;
    }

    // Many at once: [[kind, payload, options], ...]. Resolves to as many of { id, duplicate } or {
    // error }.
    async submitMany(jobs) {
        const groups = jobs.map(([kind, payload, options]) => submission(kind, payload, options));
        const answers = [];
        for (const batch of this.#batches(groups)) answers.push(this.#submitBatch(batch));
        return (await Promise.all(answers)).flat();
    }

    // How it ended: { state, result, error, text, attempts }. Resolves when it has.
    async wait(id, { timeoutMs } = {}) {
        const watch = this.#watch(idOf(id));
        if (timeoutMs === undefined) return watch.promise;
        let timer;
        const late = new Promise((_, reject) => {
            const error = new QuernError(
                ERROR.WAIT_TIMEOUT,
                `job ${id} has not ended after ${timeoutMs} ms`,
            );
            timer = setTimeout(() => reject(error), timeoutMs);
        });
        return Promise.race([watch.promise, late]).finally(() => clearTimeout(timer));
    }

    // All that is known of a job, with its payload and result.
    async job(id) {
        const [item] = await this.#ask('get_job', [{ id: idOf(id), payload: true }]);
        if (item.code !== 0) throw new QuernError(item.code, item.text);
        const info = told(item);
        if (item.bytes) info.payload = decodePayload(item.bytes);
        if (item.resultBytes) info.result = decodePayload(item.resultBytes);
        return info;
    }

    async cancel(id, why) {
        const [item] = await this.#ask('cancel_job', [{ id: idOf(id), text: why }]);
        if (item.code !== 0) throw new QuernError(item.code, item.text);
    }

    // Jobs, the newest first: { state, queue, tenant, kind, parent }, page by page.
    async *list({ state, parent, ...filter } = {}) {
        const item = {
            ...filter,
            state: state && STATES.indexOf(state),
            parent: parent && idOf(parent),
            limit: 1000,
        };
        do {
            const items = await this.#ask('list_jobs', [item]);
            const end = items.pop();
            if (end.code !== 0) throw new QuernError(end.code, end.text);
            yield* items.map(told);
            item.before = end.next;
        } while (item.before !== undefined);
    }

    // What a job says while it runs: { type: 'text', channel, text }, { type: 'data', channel, data
    // }, or { type: 'reset' }: what came before is void. The generator returns how the job ended,
    // with `whole`: false where a part is not kept any more.
    async *stream(id, { tenant } = {}) {
        const number = idOf(id);
        if (this.#streams.has(number))
            throw new QuernError(ERROR.USAGE, `the stream of ${id} is read already`);
        const reader = new StreamReader(number, tenant, () => this.#attach(reader));
        this.#streams.set(number, reader);
        try {
            if (this.#conversation.welcome) reader.missing();
            return yield* reader.events();
        } finally {
            reader.close();
            this.#streams.delete(number);
            if (!reader.finished)
                this.#ask('detach', [{ id: number }], { want: 0 }).catch(() => {});
        }
    }

    // How often it has connected; more than once means that a connection was lost.
    get connections() {
        return this.#conversation.connections;
    }

    async close() {
        this.#fail(new QuernError(ERROR.UNREACHABLE_BROKER, 'the client was closed'));
        this.#subscriber?.close();
        await this.#conversation.close('done');
    }

    // --- the conversation's side ---

    hello() {
        return {};
    }

    heartbeat() {
        return {};
    }

    welcomed(welcome, another) {
        this.#connectStreams(welcome, another);
        const asked = [...this.#pending.values()];
        if (another) this.#pending.clear();
        for (const request of asked) {
            request.items = [];
            if (!another)
                this.#say(request); // the same sequence: it is done once
            else if (request.harmless)
                this.#enqueue(request); // a new one, to another life of the broker
            else
                request.reject(
                    new QuernError(
                        ERROR.UNKNOWN_OUTCOME,
                        `${request.verb}: unknown whether accepted`,
                    ),
                );
        }
        this.#sayWatches([...this.#watches.keys()]);
        for (const reader of this.#streams.values()) reader.missing();
        this.#drainQueue();
    }

    tick() {
        const now = performance.now();
        this.#sayWatches(
            [...this.#watches].filter(([, { againAt }]) => againAt < now).map(([id]) => id),
        );
        for (const reader of this.#streams.values()) reader.tick();
    }

    refused(error) {
        this.#fail(error);
        this.#conversation.close();
    }

    received(verb, items, sequence) {
        if (verb === 'finished') return items.forEach((item) => this.#finished(item));
        const request = this.#pending.get(sequence);
        if (!request) return this.#watchRefused(verb, items, sequence);
        if (verb === 'error')
            return this.#answer(
                request,
                new QuernError(items[0].code, items[0].text, items[0].retry_after_ms),
            );
        request.items.push(...items);
        const last = request.items.at(-1);
        const full =
            request.verb === 'list_jobs'
                ? last && last.id === undefined
                : request.items.length >= request.want;
        if (full) this.#answer(request);
    }

    // --- requests ---

    #ask(verb, items, { bytes, harmless = QUERIES.has(verb), want = items.length } = {}) {
        if (this.#failure) return Promise.reject(this.#failure);
        return new Promise((resolve, reject) => {
            this.#enqueue({
                verb,
                asked: items,
                bytes,
                harmless,
                want,
                items: [],
                resolve,
                reject,
            });
        });
    }

    #enqueue(request) {
        this.#queue.push(request);
        this.#drainQueue();
    }

    #drainQueue() {
        const { welcome } = this.#conversation;
        while (
            welcome &&
            this.#queue.length > 0 &&
            this.#pending.size < welcome.outstanding_max - 1
        ) {
            const request = this.#queue.shift();
            request.sequence = this.#conversation.nextSequence();
            if (request.want > 0) this.#pending.set(request.sequence, request);
            this.#say(request);
        }
    }

    #say({ sequence, verb, asked, bytes }) {
        this.#conversation.request(sequence, verb, asked, bytes);
    }

    #answer(request, error) {
        this.#pending.delete(request.sequence);
        if (error) request.reject(error);
        else request.resolve(request.items);
        if (this.#pending.size === 0) setImmediate(() => this.#early.clear());
        this.#drainQueue();
    }

    #fail(error) {
        this.#failure = error;
        const waiting = [
            ...this.#pending.values(),
            ...this.#queue,
            ...this.#watches.values(),
            ...this.#streams.values(),
        ];
        for (const each of waiting) each.reject(error);
        this.#pending.clear();
        this.#queue = [];
    }

    // --- submissions ---

    // Messages of at most as many items and bytes as the broker takes.
    #batches(groups) {
        const { items_max: itemsMax = 1024, bytes_max: bytesMax = 4 << 20 } =
            this.#conversation.welcome ?? {};
        const batches = [];
        let items = Infinity;
        let bytes = 0;
        for (const group of groups) {
            const size =
                encode(group.items.map((item) => toEnvelope('submit', item))).length +
                group.bytes.length;
            if (items + group.items.length > itemsMax || bytes + size > bytesMax - 64) {
                batches.push([]);
                items = bytes = 0;
            }
            batches.at(-1).push(group);
            items += group.items.length;
            bytes += size;
        }
        return batches;
    }

    async #submitBatch(groups) {
        let answers;
        try {
            answers = await this.#ask(
                'submit',
                groups.flatMap(({ items }) => items),
                {
                    bytes: Buffer.concat(groups.map(({ bytes }) => bytes)),
                    harmless: groups.every(({ items }) => items[0].unique !== undefined),
                    want: groups.length,
                },
            );
        } catch (error) {
            return groups.map(() => ({ error }));
        }
        return answers.map((item, at) => {
            if (item.code !== 0)
                return { error: new QuernError(item.code, item.text, item.retry_after_ms) };
            if (groups[at].items[0].watch) this.#expect(item.id);
            return { id: idText(item.id), duplicate: item.duplicate ?? false };
        });
    }

    // --- ends ---

    #watch(id) {
        if (this.#failure) throw this.#failure;
        return this.#watches.get(id) ?? this.#remember(id, true);
    }

    // SUBMIT asked to be told: the end may have come before the answer, or will come.
    #expect(id) {
        const end = this.#early.get(id);
        const watch = this.#remember(id);
        if (!end) return;
        this.#early.delete(id);
        watch.resolve(end);
    }

    #remember(id, say = false) {
        const watch = {};
        watch.promise = new Promise((resolve, reject) => Object.assign(watch, { resolve, reject }));
        watch.promise.catch(() => {}); // who waits sees it
        this.#watches.set(id, watch);
        if (say) this.#sayWatches([id]);
        return watch;
    }

    // WATCH_JOB has no answer but a refusal: what it asks for is FINISHED.
    #sayWatches(ids) {
        const { welcome } = this.#conversation;
        for (let at = 0; welcome && at < ids.length; at += welcome.items_max) {
            const sequence = this.#conversation.nextSequence();
            const some = ids.slice(at, at + welcome.items_max);
            for (const id of some)
                Object.assign(this.#watches.get(id), { sequence, againAt: undefined });
            this.#conversation.request(
                sequence,
                'watch_job',
                some.map((id) => ({ id })),
            );
        }
    }

    #watchRefused(verb, items, sequence) {
        for (const [id, watch] of this.#watches) {
            if (watch.sequence !== sequence) continue;
            const item = verb === 'error' ? items[0] : items.find((each) => each.id === id);
            if (!item || item.code === 0) continue;
            const error = new QuernError(item.code, item.text, item.retry_after_ms);
            if (error.temporary) watch.againAt = performance.now() + (item.retry_after_ms ?? 1000);
            else this.#drop(id).reject(error);
        }
    }

    #drop(id) {
        const watch = this.#watches.get(id);
        this.#watches.delete(id);
        return watch;
    }

    #finished(item) {
        const end = { ...told(item), result: decodePayload(item.bytes) };
        for (const field of ['epoch', 'seq']) delete end[field];
        this.#streams.get(item.id)?.end(item, end);
        const watch = this.#drop(item.id);
        if (watch) watch.resolve(end);
        else if (this.#pending.size > 0) this.#early.set(item.id, end);
    }

    // --- streams ---

    #connectStreams(welcome, another) {
        const { endpoint, instance } = this.#conversation;
        const where = streamEndpoint(endpoint, welcome);
        if (!where || (this.#subscriber && !another)) return;
        this.#subscriber?.close();
        const socket = new Subscriber({
            ...this.#conversation.keys,
            linger: 0,
            receiveHighWaterMark: 0,
            reconnectInterval: 50,
        });
        this.#subscriber = socket;
        const topic = `${instance.subarray(0, 8).toString('hex')}/`;
        socket.subscribe(topic);
        socket.connect(where);
        this.#hear(socket, topic.length);
    }

    async #hear(socket, topicSize) {
        for await (const [frame] of socket) {
            if (socket !== this.#subscriber) return;
            try {
                const [map, ...events] = decodeAll(frame.subarray(topicSize));
                const head = fromEnvelope('stream', map);
                this.#streams.get(head.job)?.hear(head, events);
            } catch (error) {
                console.error(`quern: a message of a stream cannot be read: ${error.message}`);
            }
        }
    }

    async #attach(reader) {
        const position = reader.epoch > 0n ? { epoch: reader.epoch, seq: reader.seq } : {};
        try {
            const [item] = await this.#ask('attach', [
                { id: reader.id, tenant: reader.tenant, ...position },
            ]);
            if (item.code !== 0) throw new QuernError(item.code, item.text);
        } catch (error) {
            reader.reject(error);
        }
    }
}

// A job as SUBMIT has it, and its children behind it.
function submission(kind, payload, options = {}) {
    const { children = [], durability, ...fields } = options;
    const below = children.map(([childKind, childPayload, childOptions]) =>
        submission(childKind, childPayload, childOptions),
    );
    const bytes = encodePayload(payload);
    const item = {
        ...fields,
        kind,
        size: bytes.length || undefined,
        children: below.length || undefined,
        durability: typeof durability === 'string' ? DURABILITY[durability] : durability,
    };
    return {
        items: [item, ...below.flatMap(({ items }) => items)],
        bytes: Buffer.concat([bytes, ...below.map((child) => child.bytes)]),
    };
}

// Puts a stream together from what the sockets bring, which may drop; asks again for what is
// missing.
class StreamReader {
    epoch = 0n;
    seq = 0;
    finished = false;
    #events = [];
    #target;
    #end;
    #error;
    #wake;
    #reset = false;
    #askedAt = -Infinity;
    #gap = false;

    constructor(id, tenant, attach) {
        this.id = id;
        this.tenant = tenant;
        this.attach = attach;
    }

    // Something is missing: asks for it, once a second while it does not come.
    missing(again = true) {
        const now = performance.now();
        this.#gap = true;
        if (!again && now < this.#askedAt + REATTACH_MS) return;
        this.#askedAt = now;
        this.attach();
    }

    tick() {
        if (this.#gap && !this.finished) this.missing(false);
    }

    hear({ epoch, seq, count, gone }, events) {
        if (epoch < this.epoch) return;
        if (gone) return this.#finish(false);
        if (epoch > this.epoch) this.#begin(epoch);
        if (count === 0 ? seq > this.seq : seq > this.seq + 1) return this.missing(!this.#gap);
        const fresh = events.slice(this.seq + 1 - seq);
        if (count > 0 && fresh.length > 0) {
            this.seq += fresh.length;
            this.#gap = false;
            this.#events.push(...fresh.map(eventOf));
        }
        this.#finishIfWhole();
        this.#wake?.();
    }

    #begin(epoch) {
        if (this.seq > 0) this.#reset = true;
        if (this.#reset) this.#events = [{ type: 'reset' }];
        this.epoch = epoch;
        this.seq = 0;
    }

    // FINISHED: the stream ends where that says, or there is none.
    end({ epoch, seq = 0 }, end) {
        this.#end = end;
        if (this.whole === false) return this.#finish(false);
        this.#target = { epoch, seq };
        this.#finishIfWhole();
        if (!this.finished) this.missing(!this.#gap);
    }

    #finishIfWhole() {
        if (!this.#target) return;
        const { epoch, seq } = this.#target;
        if (epoch === undefined) {
            if (this.seq > 0) this.#begin(this.epoch + 1n);
            this.#finish(true);
        } else if (this.epoch === epoch && this.seq >= seq) {
            this.#finish(true);
        }
    }

    #finish(whole) {
        this.whole = whole;
        this.#gap = false;
        this.finished = this.#end !== undefined;
        this.#wake?.();
    }

    reject(error) {
        this.#error = error;
        this.finished = true;
        this.#wake?.();
    }

    async *events() {
        for (;;) {
            while (this.#events.length > 0) yield this.#events.shift();
            if (this.#error) throw this.#error;
            if (this.finished) return { ...this.#end, whole: this.whole };
            await new Promise((resolve) => (this.#wake = resolve));
        }
    }

    close() {
        this.#gap = false;
    }
}

function eventOf([type, channel, bytes]) {
    if (type === 1) return { type: 'data', channel, data: decodePayload(bytes) };
    return {
        type: 'text',
        channel,
        text: typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString(),
    };
}
