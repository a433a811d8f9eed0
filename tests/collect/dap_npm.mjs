// Uploads measurements with the npm client: node dap_npm.mjs '{"task": {…}, "values": […]}'
import { Task } from "@divviup/dap";

const { task, values } = JSON.parse(process.argv[2]);
const client = new Task(task);
for (const value of values) await client.sendMeasurement(value);
console.log(JSON.stringify({ sent: values.length, version: Task.protocolVersion }));
