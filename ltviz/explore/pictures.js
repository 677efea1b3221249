// The pictures of a screen in the browser: frames as they came and decoded, each within a bound of bytes.

const STORED = 16 * 2 ** 20, DECODED = 64 * 2 ** 20; // bytes of a screen on the page: frames as they came, and decoded
const OWN = "kernel"; // key of the kernel's last picture

/** Values by key, of at most `bound` bytes in all; the least recently used goes first. */
class Bounded {
  constructor(bound, dropped = () => {}) { Object.assign(this, { bound, dropped, size: 0, kept: new Map() }); }
  get(key) {
    const entry = this.kept.get(key);
    if (entry) { this.kept.delete(key); this.kept.set(key, entry); }
    return entry?.value;
  }
  put(key, value, size) {
    this.drop(key, value);
    this.kept.set(key, { value, size }); this.size += size;
    for (const old of this.kept.keys()) if (this.size > this.bound) this.drop(old);
  }
  drop(key, except) {
    const entry = this.kept.get(key);
    this.kept.delete(key); this.size -= entry?.size ?? 0;
    if (entry && entry.value !== except) this.dropped(entry.value);
  }
  clear() { for (const key of [...this.kept.keys()]) this.drop(key); }
}

/** Pictures by key: as they came, and decoded. One may be a patch over another. */
class Pictures {
  constructor(bound) {
    this.files = new Bounded(bound);
    this.bitmaps = new Bounded(DECODED, (entry) => { entry.bitmap?.close(); entry.bitmap = null; });
  }
  put(key, { image, over = null, at = [0, 0], meta }) {
    if (key !== OWN && this.has(key)) return; // a key stands for one picture, but for the kernel's own
    this.bitmaps.drop(key);
    this.files.put(key, { blob: new Blob([image]), over, at, meta }, image.byteLength + 200);
  }
  /** The picture and what it lies over are there; both count as just used. */
  has(key) { const file = this.files.get(key); return !!file && (!file.over || !!this.files.get(file.over)); }
  meta(key) { const file = this.files.get(key); return { ...this.files.get(file.over)?.meta, ...file.meta }; }
  /** What to draw, in order: [key, left, top]. */
  layers(key) { const { over, at } = this.files.get(key); return [...(over ? [[over, 0, 0]] : []), [key, ...at]]; }
  /** {bitmap} of one layer: null while it is being decoded, which `ready` waits for. */
  decoded(key) {
    const known = this.bitmaps.get(key), entry = { bitmap: null };
    if (known) return known;
    entry.ready = createImageBitmap(this.files.get(key).blob).then((bitmap) => {
      entry.bitmap = bitmap;
      if (this.bitmaps.get(key) === entry) this.bitmaps.put(key, entry, 4 * bitmap.width * bitmap.height);
    }, () => {}); // a picture that cannot be read is not drawn
    this.bitmaps.put(key, entry, 0);
    return entry;
  }
  clear() { this.files.clear(); this.bitmaps.clear(); }
}
