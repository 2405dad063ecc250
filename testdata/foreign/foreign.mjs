// Finds the packages that `cargo xtask setup` installed, so that the scripts can stay where they are.
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const installed = new URL('../../target/foreign/node/package.json', import.meta.url);

/** Imports an installed package by name, or ends the process with a line that says how to install it. */
export async function foreign(name) {
  let path;
  try {
    path = createRequire(fileURLToPath(installed)).resolve(name);
  } catch (error) {
    console.error(`npm package ${name} is not installed (${error.code}): run \`cargo xtask setup\``);
    process.exit(2);
  }
  return import(pathToFileURL(path));
}

/** Ends the process when the parent closes its end of stdin, so that a killed test leaves no orphan. */
export function exitWithParent() {
  process.stdin.on('end', () => process.exit(0));
  process.stdin.on('error', () => process.exit(0));
  process.stdin.resume();
}
