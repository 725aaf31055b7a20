// Subscribes with an npm package and prints what happens, one JSON value per line, until it is ended.
//
//   node eventsource.mjs URL PACKAGE
const [url, name] = process.argv.slice(2);
const loaded = await import(name);
// Version 2 exports the class itself, version 3 under its name.
const EventSource = loaded.EventSource ?? loaded.default;
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const source = new EventSource(url);
source.onopen = () => print({ open: true });
source.onerror = (event) => print({ error: event.code ?? null });
source.onmessage = (event) => print({ id: event.lastEventId, data: event.data });
