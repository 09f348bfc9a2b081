// A client: node ask.mjs TEXT ...
// Counts the words of each text, in one submission, and has them told as a stream.
import { Client } from './quern_client.mjs';

const texts = process.argv.slice(2);
if (texts.length === 0) {
    console.error('usage: node ask.mjs TEXT ...');
    process.exit(2);
}
const client = new Client({ role: 'operator' }); // a plain client may not hear streams

const jobs = texts.map((text) => ['word_count', { text }, { watch: true }]);
for (const { id, error } of await client.submitMany(jobs)) {
    if (error) throw error;
    const { state, result, text } = await client.wait(id, { timeoutMs: 60000 });
    console.log(id, state, state === 'done' ? result.words : text);
}

const id = await client.submit('tell', { text: texts.join(' '), pause_ms: 50 });
const stream = client.stream(id);
for (let next; !(next = await stream.next()).done; ) {
    const event = next.value;
    if (event.type === 'text') process.stdout.write(event.text);
    if (event.type === 'reset') process.stdout.write('\n(again) ');
    if (event.type === 'data') console.log('', event.data);
}
await client.close();
