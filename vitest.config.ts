import { defineConfig } from 'vitest/config'

/** Set by .ci/run: where the counts go. */
const report = process.env.TEST_REPORT_FILE

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    setupFiles: ['test/patient-waits.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Real servers and child processes on two cores: two files at a time keep every wait honest.
    maxWorkers: 2,
    reporters: report === undefined ? ['default'] : ['default', 'json'],
    ...(report === undefined ? {} : { outputFile: { json: report } }),
  },
})
