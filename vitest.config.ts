import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/global-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Real servers and subprocesses on two cores: two files at a time keep every wait honest.
    maxWorkers: 2,
  },
})
