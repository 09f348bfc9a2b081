// What node_peer_test.py does as a client of docs/examples/node: a command a line comes in as JSON,
// [number, name, argument, ...], and its answer goes out as [number, answer] or [number, null,
// error]. Commands run side by side.

import { createInterface } from 'node:readline';

const { Client } = await import(process.argv[2]);
const clients = { client: new Client(), operator: new Client({ role: 'operator' }) };
const { client, operator } = clients;
const streams = new Map(); // id -> events so far

async function follow(id) {
    const events = [];
    streams.set(id, events);
    const stream = operator.stream(id);
    for (;;) {
        const { value, done } = await stream.next();
        if (done) return { events, end: value };
        events.push(value);
    }
}

const COMMANDS = {
    submit: (kind, payload, options) => client.submit(kind, payload, options),
    submit_many: (jobs) => client.submitMany(jobs),
    wait: (id) => client.wait(id),
    wait_all: (ids) => Promise.all(ids.map((id) => client.wait(id))),
    wait_for: (id, timeoutMs) => client.wait(id, { timeoutMs }),
    job: (id) => client.job(id),
    cancel: (id, why) => client.cancel(id, why),
    follow,
    connections: () => client.connections,
    heard: (id) => streams.get(id) ?? [],
    async list(filter) {
        const jobs = [];
        for await (const job of client.list(filter)) jobs.push(job);
        return jobs;
    },
};

const plain = (key, value) => (typeof value === 'bigint' ? `${value}` : value);
const say = (...words) => process.stdout.write(`${JSON.stringify(words, plain)}\n`);

const running = new Set();
for await (const line of createInterface({ input: process.stdin })) {
    const [number, name, ...words] = JSON.parse(line);
    const command = Promise.resolve()
        .then(() => COMMANDS[name](...words))
        .then(
            (answer) => say(number, answer ?? null),
            (error) => say(number, null, `${error.name}: ${error.message}`),
        );
    running.add(command);
    command.finally(() => running.delete(command));
}
await Promise.all(Object.values(clients).map((each) => each.close()));
await Promise.allSettled(running);
