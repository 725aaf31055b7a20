// Subscribes with the npm package `eventsource` and prints what happens, one JSON value per line, until it is ended.
import { EventSource } from "eventsource";

const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const source = new EventSource(process.argv[2]);
source.onopen = () => print({ open: true });
source.onerror = (event) => print({ error: event.code ?? null });
source.onmessage = (event) => print({ id: event.lastEventId, data: event.data });
