import { expect, test } from 'vitest'
import { rememberedLinks } from '../../src/dag/remembered-links.ts'
import type { Step } from '../../src/dag/walk.ts'
import { cborNode, raw } from '../support/cars.ts'

const leaf = raw('leaf')

/** Links as many as asked for, and how often they were asked for. */
function counted(length: number) {
  const asked = { times: 0 }
  const follow = (): Step[] => {
    asked.times++
    return Array.from({ length }, () => ({ cid: leaf.cid }))
  }
  return { asked, follow }
}

test('a node that is met again and again is decoded once', () => {
  const { asked, follow } = counted(8000)
  const links = rememberedLinks(follow)
  const nodes = Array.from({ length: 8 }, (_, n) => cborNode(n))
  for (let round = 0; round < 100; round++) for (const node of nodes) expect(links(node, undefined)).toHaveLength(8000)
  expect(asked.times).toBe(nodes.length)
})

test('what is remembered is bounded by links; what was used last stays', () => {
  const { asked, follow } = counted(16_000)
  const links = rememberedLinks(follow)
  const [kept, ...others] = Array.from({ length: 50 }, (_, n) => cborNode(n))
  if (kept === undefined) throw new Error('no node')
  for (const other of others) {
    links(kept, undefined)
    links(other, undefined)
  }
  expect(asked.times).toBe(50)
  for (const other of others.slice(0, 40)) links(other, undefined)
  expect(asked.times).toBe(90)
})

test('one node of more links than are remembered is still given', () => {
  const { asked, follow } = counted(100_000)
  const links = rememberedLinks(follow)
  expect(links(leaf, undefined)).toHaveLength(100_000)
  expect(links(cborNode(1), undefined)).toHaveLength(100_000)
  links(leaf, undefined)
  expect(asked.times).toBe(3)
})

test('a block under another codec, or met otherwise in what counts, is another node', () => {
  const { asked, follow } = counted(1)
  const links = rememberedLinks<Step & { size?: number }>(follow, (step) => `${step?.size}`)
  const node = cborNode('x')
  links(node, undefined)
  links({ cid: raw(node.bytes).cid, bytes: node.bytes }, undefined)
  links(node, { cid: node.cid, size: 1 })
  links(node, { cid: node.cid, size: 2 })
  links(node, { cid: node.cid, size: 1 })
  expect(asked.times).toBe(4)
})
