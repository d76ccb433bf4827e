/** Requests from the machine outside a lab's cluster. */
import type { LoadReport } from '../../src/lab/http-load.js';
import { checkout } from '../../src/lab/lab.js';
import type { Lab } from '../../src/lab/lab.js';

/** `count` requests at `perSecond`, spread over the URLs in turn; resolves when all have an end. @throws Error where the load itself fails */
export async function loadFrom(
  lab: Lab,
  count: number,
  perSecond: number,
  urls: readonly string[],
): Promise<LoadReport> {
  const deadlineMs = (count / perSecond) * 1000 + 60_000;
  const argv = [
    process.execPath,
    `${checkout}/dist/lab/http-load.js`,
    String(count),
    String(perSecond),
    ...urls,
  ];
  const { exitCode, stdout, stderr } = await lab.client(argv, { deadlineMs });
  if (exitCode !== 0 || stderr !== '') throw new Error(`the load failed (${exitCode}): ${stderr}`);
  return JSON.parse(stdout) as LoadReport;
}
