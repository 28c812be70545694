/**
 * Longest prefix match: a binary trie with compressed paths, in columns.
 *
 * Theory of operation. A node is a prefix (`bits`, `length`) and owns what is below it; its two children differ in the bit right behind it. Nodes either have
 * a value, or two children, so n prefixes need at most 2n − 1 nodes, and a look-up visits at most as many nodes as prefixes nest, plus forks: about
 * twenty for 100,000 prefixes. Keys are 1 word (IPv4) or 4 (IPv6), highest bit first.
 *
 * Nodes are numbers into typed arrays, freed ones are chained by `left`. Nothing is allocated by `find`.
 */

const NONE = -1;
const FIRST_NODES = 16;

export class PrefixTrie {
  readonly #maxLength: number;
  #bits: Int32Array;
  #length = new Uint8Array(FIRST_NODES);
  #left = new Int32Array(FIRST_NODES);
  #right = new Int32Array(FIRST_NODES);
  #parent = new Int32Array(FIRST_NODES);
  #value = new Int32Array(FIRST_NODES);
  #root = NONE;
  #free = NONE;
  #used = 0;
  #size = 0;

  /** `words`: of a key. */
  constructor(readonly words: 1 | 4) {
    this.#maxLength = words * 32;
    this.#bits = new Int32Array(FIRST_NODES * words);
  }

  /** Prefixes in it. */
  get size(): number {
    return this.#size;
  }

  /** Value of the longest prefix that holds the address key[off…off+words), or −1. */
  find(key: Int32Array, off: number): number {
    let found = NONE;
    let node = this.#root;
    while (node !== NONE) {
      const length = this.#length[node]!;
      if (this.#common(node, key, off) < length) break;
      if (this.#value[node] !== NONE) found = this.#value[node]!;
      if (length === this.#maxLength) break;
      node = bitOf(key, off, length) === 0 ? this.#left[node]! : this.#right[node]!;
    }
    return found;
  }

  /** Sets the value (≥ 0) of a prefix; bits behind `length` are ignored. */
  set(key: Int32Array, off: number, length: number, value: number): void {
    const bits = this.#masked(key, off, length);
    let parent = NONE;
    let node = this.#root;
    while (node !== NONE && this.#length[node]! <= length && this.#common(node, bits, 0) >= this.#length[node]!) {
      if (this.#length[node] === length) {
        if (this.#value[node] === NONE) this.#size++;
        this.#value[node] = value;
        return;
      }
      parent = node;
      node = bitOf(bits, 0, this.#length[node]!) === 0 ? this.#left[node]! : this.#right[node]!;
    }
    this.#size++;
    const made = this.#make(bits, length, value);
    if (node === NONE) {
      this.#put(parent, made);
      return;
    }
    const common = Math.min(this.#common(node, bits, 0), length);
    if (common === length) {
      this.#put(parent, made);
      this.#put(made, node);
      return;
    }
    const fork = this.#make(this.#masked(bits, 0, common), common, NONE);
    this.#put(parent, fork);
    this.#put(fork, made);
    this.#put(fork, node);
  }

  /** Takes exactly this prefix out; false: it is not there, or has another value than `value` (if one is given). */
  remove(key: Int32Array, off: number, length: number, value: number = NONE): boolean {
    let node = this.#root;
    while (node !== NONE && this.#length[node]! < length && this.#common(node, key, off) >= this.#length[node]!) {
      node = bitOf(key, off, this.#length[node]!) === 0 ? this.#left[node]! : this.#right[node]!;
    }
    if (node === NONE || this.#length[node] !== length || this.#common(node, key, off) < length) return false;
    if (this.#value[node] === NONE || (value !== NONE && this.#value[node] !== value)) return false;
    this.#value[node] = NONE;
    this.#size--;
    this.#prune(node);
    return true;
  }

  /** Takes out every prefix with that value. */
  removeAll(value: number): void {
    for (let node = 0; node < this.#used; node++) {
      if (this.#length[node] === FREED || this.#value[node] !== value) continue;
      this.#value[node] = NONE;
      this.#size--;
      this.#prune(node);
    }
  }

  /** Every prefix; `bits` is reused from call to call. */
  each(visit: (bits: Int32Array, length: number, value: number) => void): void {
    for (let node = 0; node < this.#used; node++) {
      if (this.#length[node] === FREED || this.#value[node] === NONE) continue;
      const at = node * this.words;
      visit(this.#bits.subarray(at, at + this.words), this.#length[node]!, this.#value[node]!);
    }
  }

  /** How many leading bits the node's prefix and the key share (the node's bits behind its length are zero: not less than the truth needs). */
  #common(node: number, key: Int32Array, off: number): number {
    const at = node * this.words;
    for (let i = 0; i < this.words; i++) {
      const difference = this.#bits[at + i]! ^ key[off + i]!;
      if (difference !== 0) return 32 * i + Math.clz32(difference);
    }
    return this.#maxLength;
  }

  #masked(key: Int32Array, off: number, length: number): Int32Array {
    const bits = new Int32Array(this.words);
    for (let i = 0; i < this.words; i++) {
      const inWord = Math.min(32, Math.max(0, length - 32 * i));
      bits[i] = inWord === 0 ? 0 : key[off + i]! & (-1 << (32 - inWord));
    }
    return bits;
  }

  /** Hangs `child` below `parent`, on the side that its bits say; NONE = as the root. */
  #put(parent: number, child: number): void {
    this.#parent[child] = parent;
    if (parent === NONE) this.#root = child;
    else if (bitOf(this.#bits, child * this.words, this.#length[parent]!) === 0) this.#left[parent] = child;
    else this.#right[parent] = child;
  }

  /** Removes the node, and then its parent, as long as they have neither a value nor two children. */
  #prune(start: number): void {
    let node = start;
    while (node !== NONE && this.#value[node] === NONE) {
      const left = this.#left[node]!;
      const right = this.#right[node]!;
      if (left !== NONE && right !== NONE) return;
      const parent = this.#parent[node]!;
      const child = left !== NONE ? left : right;
      if (child !== NONE) this.#put(parent, child);
      else if (parent === NONE) this.#root = NONE;
      else if (this.#left[parent] === node) this.#left[parent] = NONE;
      else this.#right[parent] = NONE;
      this.#length[node] = FREED;
      this.#left[node] = this.#free;
      this.#free = node;
      if (child !== NONE) return;
      node = parent;
    }
  }

  #make(bits: Int32Array, length: number, value: number): number {
    let node = this.#free;
    if (node !== NONE) {
      this.#free = this.#left[node]!;
    } else {
      node = this.#used++;
      if (node === this.#length.length) this.#grow();
    }
    this.#bits.set(bits, node * this.words);
    this.#length[node] = length;
    this.#value[node] = value;
    this.#left[node] = NONE;
    this.#right[node] = NONE;
    this.#parent[node] = NONE;
    return node;
  }

  #grow(): void {
    const grown = <T extends Int32Array | Uint8Array>(old: T, into: T): T => {
      into.set(old);
      return into;
    };
    const nodes = this.#length.length * 2;
    this.#bits = grown(this.#bits, new Int32Array(nodes * this.words));
    this.#length = grown(this.#length, new Uint8Array(nodes));
    this.#left = grown(this.#left, new Int32Array(nodes));
    this.#right = grown(this.#right, new Int32Array(nodes));
    this.#parent = grown(this.#parent, new Int32Array(nodes));
    this.#value = grown(this.#value, new Int32Array(nodes));
  }
}

/** No prefix has this length: the node is free. */
const FREED = 255;

function bitOf(key: Int32Array, off: number, index: number): number {
  return (key[off + (index >> 5)]! >>> (31 - (index & 31))) & 1;
}
