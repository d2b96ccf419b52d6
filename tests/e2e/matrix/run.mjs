// Runs all scenarios with one client. Usage: node run.mjs <client> <version> <base URL>
//
// Prints one JSON line: for each scenario what a person saw, or why it failed.

import { scenarios } from "./scenarios.mjs";

const [name, version, base] = process.argv.slice(2);
const { open } = await import(`./${name}.mjs`);

const seen = {};
await Promise.all(
  Object.entries(scenarios).map(async ([scenario, play]) => {
    try {
      seen[scenario] = { saw: await play((chat) => open({ chatId: `${chat} ${name}${version}`, version, base })) };
    } catch (error) {
      seen[scenario] = { failed: String(error?.stack ?? error) };
    }
  }),
);
console.log(JSON.stringify(seen));
process.exit();
