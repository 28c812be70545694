// A reporter for node --test that writes one JSON object at the end: counts, and the names of failed and skipped tests.
export default async function* report(events) {
  const seen = { pass: 0, fail: 0, skipped: [], failed: [] };
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite') continue; // its tests are counted
    const name = `${data.file ? data.file.replace(/^.*\/(?=test\/)/, '') : ''} ${data.name}`.trim();
    if (data.skip !== undefined || data.todo !== undefined) seen.skipped.push(name);
    else if (type === 'test:pass') seen.pass++;
    else {
      seen.fail++;
      seen.failed.push(name);
    }
  }
  yield JSON.stringify(seen);
}
