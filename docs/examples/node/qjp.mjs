// QJP/1 as ../../protocol.md tells it: frames, envelopes, ids, and one conversation with the
// broker. quern_worker.mjs and quern_client.mjs stand on this; both are what one would want to read
// first.

import { randomBytes } from 'node:crypto';
import { openSync, readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, resolve } from 'node:path';
import { Packr } from 'msgpackr';
import { Dealer } from 'zeromq';

export const ROLE = { client: 1, worker: 2, gateway: 3, operator: 4 };

export const VERB = {
    hello: 1, welcome: 2, error: 3, heartbeat: 4, bye: 5, submit: 10, submitted: 11, get_job: 12,
    job_info: 13, list_jobs: 14, cancel_job: 17, watch_job: 19, finished: 20, outcome: 21,
    declare_kind: 50, dispatch: 51, started: 52, result: 53, result_ack: 54, cancel_attempt: 55,
    lost: 56, recall: 57, returned: 58, progress: 59, drain_worker: 60, attach: 80, attached: 81,
    detach: 82, stream_need: 83, spawn: 85, spawned: 86,
};
const VERB_NAMES = new Map(Object.entries(VERB).map(([name, number]) => [number, name]));

export const STATES = [null, 'scheduled', 'ready', 'blocked', 'running', 'cancelling', 'done',
    'dead', 'cancelled', 'expired'];

export const ERROR = {
    MALFORMED: 10, TOO_LARGE: 11, UNKNOWN_VERB: 12, UNKNOWN_FIELD: 13, MISSING_FIELD: 14,
    BAD_VALUE: 15, BAD_VERSION: 16, BAD_ROLE: 17, NO_HELLO: 18, DUPLICATE_INSTANCE: 19,
    OLD_SEQUENCE: 20, BAD_CONFIG: 21, USAGE: 22, NOT_FOUND: 30, UNKNOWN_KIND: 31, UNKNOWN_QUEUE: 32,
    UNKNOWN_POOL: 33, ALREADY_DONE: 34, NOT_FINISHED: 35, CONFLICT: 36, BUSY: 50, READ_ONLY: 51,
    DISK_FULL: 52, STARTING: 53, STOPPING: 54, RATE_LIMITED: 55, STALE_FENCE: 70, CANCELLED: 71,
    EXPIRED: 72, TIMEOUT: 73, WORKER_LOST: 74, JOB_FAILED: 75, JOB_REJECTED: 76,
    RESULT_TOO_LARGE: 77, CRASHED: 78, FLOW_FAILED: 79, UNREACHABLE_BROKER: 90, WAIT_TIMEOUT: 91,
    UNKNOWN_OUTCOME: 92, IO: 93, CORRUPT: 94, LOCKED: 95, NO_MEMORY: 96, INTERNAL: 99,
};
const TEMPORARY = new Set([18, 50, 51, 52, 53, 54, 55, 73, 74, 75, 90, 91, 92, 93, 96]);
const ERROR_NAMES = new Map(Object.entries(ERROR).map(([name, number]) => [number, name]));

// What a request, a job or the broker was refused with. `name` is a word of the error table.
export class QuernError extends Error {
    constructor(code, text, retryAfterMs) {
        super(text || ERROR_NAMES.get(code) || `error ${code}`);
        this.name = ERROR_NAMES.get(code) ?? `ERROR_${code}`;
        this.code = code;
        this.retryAfterMs = retryAfterMs;
    }

    // May the same be tried again later? (Class temp or hold.)
    get temporary() {
        return TEMPORARY.has(this.code);
    }

    // The broker has no room for it now.
    get roomless() {
        return this.code >= ERROR.BUSY && this.code <= ERROR.RATE_LIMITED;
    }
}

// --- ids: numbers of 64 bits in messages, 13 characters of Crockford's base32 for people ---

const DIGITS = '0123456789abcdefghjkmnpqrstvwxyz';

export function idText(id) {
    let text = '';
    for (let shift = 60n; shift >= 0n; shift -= 5n) text += DIGITS[Number((id >> shift) & 31n)];
    return text;
}

export function idOf(id) {
    if (typeof id === 'bigint') return id;
    if (!/^[0-9a-f][0-9a-hjkmnp-tv-z]{12}$/.test(id))
        throw new TypeError(`'${id}' is no id of a job`);
    return [...id].reduce((value, digit) => (value << 5n) | BigInt(DIGITS.indexOf(digit)), 0n);
}

// --- msgpack ---

const envelopes = new Packr({ useRecords: false, mapsAsObjects: false, int64AsType: 'auto' });
const payloads = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: 'auto' });
export const encode = (value) => envelopes.pack(value);
export const decodeAll = (bytes) => envelopes.unpackMultiple(bytes) ?? [];

// A payload or result as bytes: a map, without what msgpack has no word for.
export function encodePayload(value) {
    if (value === undefined || value === null) return Buffer.alloc(0);
    const map = typeof value === 'object' && !Array.isArray(value) && !ArrayBuffer.isView(value);
    if (!map) throw new TypeError('a payload or result is an object');
    return Buffer.from(payloads.pack(plain(value)));
}

// msgpackr would write undefined as an extension, and whole numbers over 32 bits as floats.
function plain(value) {
    if (typeof value === 'number' && Number.isSafeInteger(value) && Math.abs(value) > 0x7fffffff) {
        return BigInt(value);
    }
    if (Array.isArray(value)) return value.map((each) => plain(each ?? null));
    if (
        value === null ||
        typeof value !== 'object' ||
        Object.getPrototypeOf(value) !== Object.prototype
    ) {
        return value;
    }
    return Object.fromEntries(
        Object.entries(value)
            .filter(([, each]) => each !== undefined && typeof each !== 'function')
            .map(([key, each]) => [key, plain(each)]),
    );
}

export function decodePayload(bytes) {
    if (bytes.length === 0) return {};
    const first = bytes[0];
    if ((first & 0xf0) !== 0x80 && first !== 0xde && first !== 0xdf) throw new TypeError('no map');
    return payloads.unpack(bytes);
}

// A text of at most `max` bytes, cut between characters.
export function cut(text, max) {
    const bytes = Buffer.from(text);
    let end = Math.min(bytes.length, max);
    while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end--;
    return bytes.toString('utf8', 0, end);
}

// The fields of each message, in the order of their numbers, which count from 1.
const FIELDS = Object.fromEntries(Object.entries({
    hello:
        'version_min version_max role instance name pid host pool kinds slots prefetch ' +
        'running unacked epoch',
    welcome:
        'version epoch heartbeat_ms missed_max items_max bytes_max body_max result_max ' +
        'outstanding_max stream stream_port stream_max',
    error: 'code text retry_after_ms',
    heartbeat: 'epoch busy held rss_bytes read_only',
    bye: 'text',
    submit:
        'kind size queue tenant priority key interval_ms unique window_ms delay_ms run_at_ms ' +
        'ttl_ms timeout_ms attempts_max backoff_ms backoff_max_ms durability trace watch ' +
        'attach grace_ms children fail_fast then parent fence index',
    submitted: 'code id duplicate text retry_after_ms',
    get_job: 'id payload',
    job_info:
        'code id state kind queue tenant priority attempts attempts_max created_ms due_ms ' +
        'started_ms ended_ms fence error text key unique trace worker progress progress_total ' +
        'crashes size result_size ttl_ms timeout_ms durability next parent root then ' +
        'fail_fast spawned below below_done below_dead below_cancelled below_expired settled ' +
        'flow_error schedule schedule_due_ms history group',
    list_jobs: 'state queue tenant kind limit before parent',
    cancel_job: 'id text',
    finished: 'id state error text size attempts epoch seq flow',
    outcome: 'code text count id flow',
    kind_info:
        'kind queue priority timeout_ms attempts_max backoff_ms backoff_max_ms ttl_ms ' +
        'durability speculative schema streams',
    dispatch:
        'job fence kind size tenant attempt attempts_max timeout_ms trace alone token parent ' +
        'parent_state siblings siblings_done siblings_dead siblings_cancelled ' +
        'siblings_expired siblings_broken',
    attempt_ref: 'job fence code',
    result: 'job fence outcome size error text retry_after_ms epoch seq children',
    progress: 'job fence done total',
    attach: 'id tenant epoch seq',
    attached: 'code text id state',
    stream_need: 'job fence token epoch seq',
    stream: 'job epoch seq count token gone',
    spawned: 'code job fence index text',
}).map(([message, fields]) => [message, fields.split(' ')]));

const MESSAGE_OF = {
    started: 'attempt_ref', result_ack: 'attempt_ref', cancel_attempt: 'attempt_ref',
    lost: 'attempt_ref', recall: 'attempt_ref', returned: 'attempt_ref', drain_worker: 'bye',
    declare_kind: 'kind_info', watch_job: 'get_job', detach: 'get_job', spawn: 'submit',
};
// These may be over 2^53; they are BigInt always, so that they can be compared.
const WIDE = new Set(
    ['job', 'fence', 'id', 'epoch', 'token', 'parent', 'next', 'root', 'before', 'group']);

export function toEnvelope(message, values) {
    const map = new Map();
    FIELDS[message].forEach((field, at) => {
        let value = values[field];
        if (value === undefined || value === null) return;
        if (typeof value === 'number' && value > 0xffffffff) value = BigInt(value);
        map.set(at + 1, value);
    });
    return map;
}

export function fromEnvelope(message, map) {
    const values = {};
    for (const [number, value] of map) {
        const field = FIELDS[message][Number(number) - 1];
        if (field === undefined) continue; // a later broker knows more fields
        if (WIDE.has(field)) values[field] = BigInt(value);
        else values[field] = value instanceof Uint8Array ? Buffer.from(value).toString() : value;
    }
    return values;
}

function readMessage(frames) {
    const [version, number, sequence] = envelopes.unpack(frames[0]);
    const verb = VERB_NAMES.get(number);
    if (version !== 1 || verb === undefined) return null;
    let at = 0;
    const rest = frames[2] ?? Buffer.alloc(0);
    const take = (size) => rest.subarray(at, (at += size ?? 0));
    const items = envelopes.unpack(frames[1]).map((map) => {
        const item = fromEnvelope(MESSAGE_OF[verb] ?? verb, map);
        item.bytes = take(item.size);
        if (item.result_size !== undefined) item.resultBytes = take(item.result_size);
        return item;
    });
    return { verb, sequence, items };
}

// --- where the broker is ---

const SOCKET_PATH_MAX = 107;
const Z85 =
    '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#';

// `place` is an endpoint, the path of a socket, or of a data folder; by default QUERN_BROKER,
// QUERN_DATA.
export function endpointOf(
    role,
    place = process.env.QUERN_BROKER || process.env.QUERN_DATA || '.quern',
) {
    if (place.includes('://')) return place;
    const path = resolve(place);
    const isSocket = statSync(path, { throwIfNoEntry: false })?.isSocket();
    const socket = isSocket ? path : `${path}/run/${role}.sock`;
    if (Buffer.byteLength(socket) <= SOCKET_PATH_MAX) return `ipc://${socket}`;
    const folder = openSync(dirname(socket), 'r'); // the kernel takes no longer path; stays open
    return `ipc:///proc/self/fd/${folder}/${basename(socket)}`;
}

// The sockets of streams are files beside that of the role, or ports of the same host.
export function streamEndpoint(endpoint, welcome) {
    if (endpoint.startsWith('ipc://'))
        return welcome.stream && `${dirname(endpoint)}/${welcome.stream}`;
    return welcome.stream_port && endpoint.replace(/:\d+$/, `:${welcome.stream_port}`);
}

// The options of a socket for a broker by TCP that wants keys: those of a file of `quern keygen`.
function keysFor(endpoint, file = process.env.QUERN_KEY_FILE) {
    if (!file || !endpoint.startsWith('tcp://')) return {};
    const text = readFileSync(file, 'utf8');
    const key = (name) => new RegExp(`^${name}: *([0-9a-f]{64})$`, 'm').exec(text)?.[1];
    const server = key('server') ?? process.env.QUERN_SERVER_KEY;
    if (!key('public') || !key('secret') || !server)
        throw new QuernError(ERROR.BAD_CONFIG, `key file ${file}: no public, secret or server key`);
    return {
        curveServerKey: z85(server),
        curvePublicKey: z85(key('public')),
        curveSecretKey: z85(key('secret')),
    };
}

// Keys as zeromq takes them: four bytes are five digits of base 85.
function z85(hex) {
    let text = '';
    for (let at = 0; at < hex.length; at += 8) {
        const value = parseInt(hex.slice(at, at + 8), 16);
        for (let by = 85 ** 4; by >= 1; by /= 85) text += Z85[Math.floor(value / by) % 85];
    }
    return text;
}

// A socket of zeromq takes one send at a time: this keeps the rest, in order.
export class Sender {
    #queue = [];
    #busy = false;

    constructor(socket) {
        this.socket = socket;
    }

    async send(frames) {
        this.#queue.push(frames);
        if (this.#busy) return;
        this.#busy = true;
        try {
            while (this.#queue.length > 0) await this.socket.send(this.#queue.shift());
        } catch {
            // the socket is closed: what mattered is said again after the next WELCOME
            this.#queue = [];
        }
        this.#busy = false;
    }

    // Everything was handed over: closes, so that what is under way still gets `lingerMs` to leave.
    async close(lingerMs) {
        while (this.#busy) await new Promise(setImmediate);
        this.socket.linger = lingerMs;
        this.socket.close();
    }
}

// --- the conversation ---

// Keeps one conversation going: HELLO, heartbeats, new connections, the broker's restarts. Its
// owner has
//   hello()                     the further fields of HELLO, as things are now
//   heartbeat()                 those of HEARTBEAT
//   welcomed(welcome, another)  the broker knows us (again); `another`: it is another life of it
//   received(verb, items, sequence)
//   tick()                      once a heartbeat, while welcomed
//   refused(error)              HELLO was refused for good
export class Conversation {
    #socket;
    #sender;
    #heard;
    #ticked;
    #timer;
    #retry;
    #delayMs = 50;
    #sequence = 0;
    #helloAt = 0;

    constructor(owner, role, { broker, keyFile, instance, name } = {}) {
        this.owner = owner;
        this.role = role;
        this.endpoint = endpointOf(role, broker);
        this.keys = keysFor(this.endpoint, keyFile);
        this.instance = instance ?? randomBytes(16);
        this.name = name;
        this.epoch = 0n;
        this.welcome = null; // null while the broker does not know us on this connection
        this.closed = false;
        this.connections = 0;
        this.#connect();
    }

    #connect() {
        this.connections++;
        this.#socket?.close();
        this.#retry = clearTimeout(this.#retry);
        const socket = new Dealer({
            linger: 0,
            reconnectInterval: 50,
            reconnectMaxInterval: 250,
            sendHighWaterMark: 0,
            ...this.keys,
        });
        this.#socket = socket;
        this.#sender = new Sender(socket);
        socket.events.on('disconnect', () => this.#cutOff(socket));
        socket.events.on('handshake:error:auth', () => this.#cutOff(socket));
        socket.connect(this.endpoint);
        this.#heard = this.#ticked = performance.now();
        this.#beatEvery(this.welcome?.heartbeat_ms ?? 1000);
        this.sayHello();
        this.#read(socket);
    }

    // The connection has ended: a new one at once, but not for ever where none is let in.
    #cutOff(socket) {
        if (socket !== this.#socket || this.closed) return;
        if (this.welcome) return this.#connect();
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.#connect(), this.#delayMs);
        this.#delayMs = Math.min(2 * this.#delayMs, 1000);
    }

    async #read(socket) {
        try {
            for await (const frames of socket) {
                if (socket !== this.#socket) return;
                this.#heard = performance.now();
                let message = null;
                try {
                    message = readMessage(frames);
                } catch (error) {
                    console.error(
                        `quern: a message of the broker cannot be read: ${error.message}`,
                    );
                }
                if (message) this.#take(message);
            }
        } catch (error) {
            if (socket === this.#socket && !this.closed) throw error;
        }
    }

    sayHello() {
        if (this.closed) return;
        this.welcome = null;
        this.#helloAt = ++this.#sequence;
        this.#put('hello', this.#helloAt, [
            {
                version_min: 1,
                version_max: 1,
                role: ROLE[this.role],
                instance: this.instance,
                name: this.name,
                pid: process.pid,
                host: hostname(),
                epoch: this.epoch || undefined,
                ...this.owner.hello(),
            },
        ]);
    }

    #take({ verb, sequence, items }) {
        if (verb === 'welcome') return this.#welcomed(items[0], sequence);
        if (verb === 'heartbeat') {
            if (this.welcome && items[0].epoch !== this.epoch) this.sayHello();
            return;
        }
        if (verb === 'error') {
            const { code, text, retry_after_ms: later } = items[0];
            if (code === ERROR.NO_HELLO) {
                if (this.welcome) this.sayHello();
                return;
            }
            if (sequence === this.#helloAt || code === ERROR.STARTING) {
                return this.#helloRefused(new QuernError(code, text, later));
            }
        }
        this.owner.received(verb, items, sequence);
    }

    #welcomed(welcome, sequence) {
        // of an earlier HELLO; the answer to the last one comes
        if (sequence !== this.#helloAt) return;
        const another = welcome.epoch !== this.epoch;
        this.epoch = welcome.epoch;
        this.welcome = welcome;
        this.#delayMs = 50;
        this.#beatEvery(welcome.heartbeat_ms);
        this.owner.welcomed(welcome, another);
    }

    #helloRefused(error) {
        if (this.closed) return;
        if (!error.temporary) return this.owner.refused(error);
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.sayHello(), error.retryAfterMs ?? this.#delayMs);
        this.#delayMs = Math.min(2 * this.#delayMs, 1000);
    }

    #beatEvery(ms) {
        clearInterval(this.#timer);
        this.#timer = setInterval(() => this.#beat(ms), ms);
    }

    #beat(ms) {
        const now = performance.now();
        // this process was: what has arrived is read first
        const stopped = now - this.#ticked > 2 * ms;
        this.#ticked = now;
        if (stopped) this.#heard = now;
        if (now - this.#heard > (this.welcome?.missed_max ?? 3) * ms) {
            this.#connect();
        } else if (this.welcome) {
            this.notice('heartbeat', [{ epoch: this.epoch, ...this.owner.heartbeat() }]);
            this.owner.tick();
        }
    }

    // Nothing but HELLO goes out before WELCOME: the owner says what is left to say in welcomed().
    notice(verb, items, bytes) {
        if (this.welcome) this.#put(verb, 0, items, bytes);
    }

    nextSequence() {
        return ++this.#sequence;
    }

    request(sequence, verb, items, bytes) {
        if (this.welcome) this.#put(verb, sequence, items, bytes);
    }

    #put(verb, sequence, items, bytes) {
        const message = MESSAGE_OF[verb] ?? verb;
        const frames = [
            encode([1, VERB[verb], sequence]),
            encode(items.map((item) => toEnvelope(message, item))),
        ];
        if (bytes?.length) frames.push(bytes);
        this.#sender.send(frames);
    }

    async close(text) {
        if (this.closed) return;
        this.notice('bye', [{ text }]);
        this.closed = true;
        clearInterval(this.#timer);
        clearTimeout(this.#retry);
        await this.#sender.close(1000);
    }
}
