// Makes generated/ from the repository: the contract, the service config, and the types of
// messages. npm runs it after `npm ci` and before `npm pack`.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const here = import.meta.dirname;
const out = path.join(here, 'generated');
const contract = path.join(here, '../../proto/recsys');
if (fs.existsSync(contract)) {
  fs.rmSync(out, { recursive: true, force: true });
  fs.cpSync(contract, path.join(out, 'proto/recsys'), { recursive: true });
  fs.copyFileSync(path.join(here, '../service_config.json'), path.join(out, 'service_config.json'));
  const loader = path.dirname(createRequire(import.meta.url).resolve('@grpc/proto-loader/package.json'));
  execFileSync(process.execPath, [
    path.join(loader, 'build/bin/proto-loader-gen-types.js'),
    '--grpcLib=@grpc/grpc-js', '--keepCase', '--enums=String', '--longs=Number', '--defaults',
    '--targetFileExtension=.d.ts', '--importFileExtension=.js',
    '--includeDirs', '.', '--outDir=../types',
    'recsys/v1/recommender.proto', 'recsys/v1/catalog.proto',
  ], { cwd: path.join(out, 'proto'), stdio: ['ignore', 'ignore', 'inherit'] });
  // The tool writes sources; in declarations a constant has a type and no value.
  for (const entry of fs.readdirSync(path.join(out, 'types'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    const text = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(file, text.replace(/^export const (\w+) = \{/gm, 'export declare const $1: {').replaceAll('} as const;', '};'));
  }
}
