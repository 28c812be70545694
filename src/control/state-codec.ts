// Generated from state.proto by scripts/state-codec.mjs; not to be edited. state-file.ts gives it types.
// @ts-nocheck
import $protobuf from "protobufjs/minimal.js";

const $Reader = $protobuf.Reader, $Writer = $protobuf.Writer, $util = $protobuf.util;
const $Object = $util.global.Object, $undefined = $util.global.undefined, $Error = $util.global.Error, $RangeError = $util.global.RangeError;

const $root = $protobuf.roots["default"] || ($protobuf.roots["default"] = {});

export const tungate = $root.tungate = (() => {

    const tungate = {};

    tungate.state = (function() {

        const state = {};

        state.Record = (function() {

            const Record = function (properties) {
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            Record.prototype.head = null;
            Record.prototype.chunk = null;
            Record.prototype.end = null;

            let $oneOfFields;

            $Object.defineProperty(Record.prototype, "what", {
                get: $util.oneOfGetter($oneOfFields = ["head", "chunk", "end"]),
                set: $util.oneOfSetter($oneOfFields)
            });

            Record.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.head != null && $Object.hasOwnProperty.call(message, "head"))
                    $root.tungate.state.Head.encode(message.head, writer.uint32(10).fork(), _depth + 1).ldelim();
                if (message.chunk != null && $Object.hasOwnProperty.call(message, "chunk"))
                    $root.tungate.state.Chunk.encode(message.chunk, writer.uint32(18).fork(), _depth + 1).ldelim();
                if (message.end != null && $Object.hasOwnProperty.call(message, "end"))
                    $root.tungate.state.End.encode(message.end, writer.uint32(26).fork(), _depth + 1).ldelim();
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            Record.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.Record();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 2)
                                break;
                            message.head = $root.tungate.state.Head.decode(reader, reader.size(), $undefined, _depth + 1, message.head);
                            message.what = "head";
                            continue;
                        }
                    case 2: {
                            if (wireType !== 2)
                                break;
                            message.chunk = $root.tungate.state.Chunk.decode(reader, reader.size(), $undefined, _depth + 1, message.chunk);
                            message.what = "chunk";
                            continue;
                        }
                    case 3: {
                            if (wireType !== 2)
                                break;
                            message.end = $root.tungate.state.End.decode(reader, reader.size(), $undefined, _depth + 1, message.end);
                            message.what = "end";
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return Record;
        })();

        state.Head = (function() {

            const Head = function (properties) {
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            Head.prototype.version = "";
            Head.prototype.written = $util.Long ? $util.Long.fromBits(0,0,true) : 0;

            Head.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.version != null && $Object.hasOwnProperty.call(message, "version") && message.version !== "")
                    writer.uint32(10).string(message.version);
                if (message.written != null && $Object.hasOwnProperty.call(message, "written") && (typeof message.written === "object" ? message.written.low || message.written.high : message.written !== 0))
                    writer.uint32(16).uint64(message.written);
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            Head.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message, value;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.Head();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 2)
                                break;
                            if ((value = reader.stringVerify()).length)
                                message.version = value;
                            else
                                delete message.version;
                            continue;
                        }
                    case 2: {
                            if (wireType !== 0)
                                break;
                            if (typeof (value = reader.uint64()) === "object" ? value.low || value.high : value !== 0)
                                message.written = value;
                            else
                                delete message.written;
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return Head;
        })();

        state.Chunk = (function() {

            const Chunk = function (properties) {
                this.mappings = [];
                this.flows = [];
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            Chunk.prototype.mappings = $util.emptyArray;
            Chunk.prototype.flows = $util.emptyArray;

            Chunk.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.mappings != null && message.mappings.length)
                    for (let i = 0; i < message.mappings.length; ++i)
                        $root.tungate.state.Mapping.encode(message.mappings[i], writer.uint32(10).fork(), _depth + 1).ldelim();
                if (message.flows != null && message.flows.length)
                    for (let i = 0; i < message.flows.length; ++i)
                        $root.tungate.state.Flow.encode(message.flows[i], writer.uint32(18).fork(), _depth + 1).ldelim();
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            Chunk.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.Chunk();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 2)
                                break;
                            if (!(message.mappings && message.mappings.length))
                                message.mappings = [];
                            message.mappings.push($root.tungate.state.Mapping.decode(reader, reader.size(), $undefined, _depth + 1));
                            continue;
                        }
                    case 2: {
                            if (wireType !== 2)
                                break;
                            if (!(message.flows && message.flows.length))
                                message.flows = [];
                            message.flows.push($root.tungate.state.Flow.decode(reader, reader.size(), $undefined, _depth + 1));
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return Chunk;
        })();

        state.End = (function() {

            const End = function (properties) {
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            End.prototype.mappings = 0;
            End.prototype.flows = 0;
            End.prototype.sha256 = $util.newBuffer([]);

            End.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.mappings != null && $Object.hasOwnProperty.call(message, "mappings") && message.mappings !== 0)
                    writer.uint32(8).uint32(message.mappings);
                if (message.flows != null && $Object.hasOwnProperty.call(message, "flows") && message.flows !== 0)
                    writer.uint32(16).uint32(message.flows);
                if (message.sha256 != null && $Object.hasOwnProperty.call(message, "sha256") && message.sha256.length)
                    writer.uint32(26).bytes(message.sha256);
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            End.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message, value;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.End();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.mappings = value;
                            else
                                delete message.mappings;
                            continue;
                        }
                    case 2: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.flows = value;
                            else
                                delete message.flows;
                            continue;
                        }
                    case 3: {
                            if (wireType !== 2)
                                break;
                            if ((value = reader.bytes()).length)
                                message.sha256 = value;
                            else
                                delete message.sha256;
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return End;
        })();

        state.Mapping = (function() {

            const Mapping = function (properties) {
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            Mapping.prototype.protocol = 0;
            Mapping.prototype.inside = 0;
            Mapping.prototype.insidePort = 0;
            Mapping.prototype.outside = 0;
            Mapping.prototype.outsidePort = 0;
            Mapping.prototype.filtering = 0;
            Mapping.prototype.rule = "";
            Mapping.prototype.shared = false;
            Mapping.prototype.held = 0;

            Mapping.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.protocol != null && $Object.hasOwnProperty.call(message, "protocol") && message.protocol !== 0)
                    writer.uint32(8).uint32(message.protocol);
                if (message.inside != null && $Object.hasOwnProperty.call(message, "inside") && message.inside !== 0)
                    writer.uint32(21).fixed32(message.inside);
                if (message.insidePort != null && $Object.hasOwnProperty.call(message, "insidePort") && message.insidePort !== 0)
                    writer.uint32(24).uint32(message.insidePort);
                if (message.outside != null && $Object.hasOwnProperty.call(message, "outside") && message.outside !== 0)
                    writer.uint32(37).fixed32(message.outside);
                if (message.outsidePort != null && $Object.hasOwnProperty.call(message, "outsidePort") && message.outsidePort !== 0)
                    writer.uint32(40).uint32(message.outsidePort);
                if (message.filtering != null && $Object.hasOwnProperty.call(message, "filtering") && message.filtering !== 0)
                    writer.uint32(48).uint32(message.filtering);
                if (message.rule != null && $Object.hasOwnProperty.call(message, "rule") && message.rule !== "")
                    writer.uint32(58).string(message.rule);
                if (message.shared != null && $Object.hasOwnProperty.call(message, "shared") && message.shared !== false)
                    writer.uint32(64).bool(message.shared);
                if (message.held != null && $Object.hasOwnProperty.call(message, "held") && message.held !== 0)
                    writer.uint32(72).uint32(message.held);
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            Mapping.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message, value;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.Mapping();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.protocol = value;
                            else
                                delete message.protocol;
                            continue;
                        }
                    case 2: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.inside = value;
                            else
                                delete message.inside;
                            continue;
                        }
                    case 3: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.insidePort = value;
                            else
                                delete message.insidePort;
                            continue;
                        }
                    case 4: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.outside = value;
                            else
                                delete message.outside;
                            continue;
                        }
                    case 5: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.outsidePort = value;
                            else
                                delete message.outsidePort;
                            continue;
                        }
                    case 6: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.filtering = value;
                            else
                                delete message.filtering;
                            continue;
                        }
                    case 7: {
                            if (wireType !== 2)
                                break;
                            if ((value = reader.stringVerify()).length)
                                message.rule = value;
                            else
                                delete message.rule;
                            continue;
                        }
                    case 8: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.bool())
                                message.shared = value;
                            else
                                delete message.shared;
                            continue;
                        }
                    case 9: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.held = value;
                            else
                                delete message.held;
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return Mapping;
        })();

        state.Tuple = (function() {

            const Tuple = function (properties) {
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            Tuple.prototype.src = 0;
            Tuple.prototype.dst = 0;
            Tuple.prototype.sport = 0;
            Tuple.prototype.dport = 0;

            Tuple.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.src != null && $Object.hasOwnProperty.call(message, "src") && message.src !== 0)
                    writer.uint32(13).fixed32(message.src);
                if (message.dst != null && $Object.hasOwnProperty.call(message, "dst") && message.dst !== 0)
                    writer.uint32(21).fixed32(message.dst);
                if (message.sport != null && $Object.hasOwnProperty.call(message, "sport") && message.sport !== 0)
                    writer.uint32(24).uint32(message.sport);
                if (message.dport != null && $Object.hasOwnProperty.call(message, "dport") && message.dport !== 0)
                    writer.uint32(32).uint32(message.dport);
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            Tuple.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message, value;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.Tuple();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.src = value;
                            else
                                delete message.src;
                            continue;
                        }
                    case 2: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.dst = value;
                            else
                                delete message.dst;
                            continue;
                        }
                    case 3: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.sport = value;
                            else
                                delete message.sport;
                            continue;
                        }
                    case 4: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.dport = value;
                            else
                                delete message.dport;
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return Tuple;
        })();

        state.Flow = (function() {

            const Flow = function (properties) {
                this.flags = [];
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            Flow.prototype.protocol = 0;
            Flow.prototype.original = null;
            Flow.prototype.reply = null;
            Flow.prototype.seconds = 0;
            Flow.prototype.originalBytes = 0;
            Flow.prototype.replyBytes = 0;
            Flow.prototype.mapped = false;
            Flow.prototype.state = 0;
            Flow.prototype.flags = $util.emptyArray;
            Flow.prototype.tcp = null;

            Flow.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.protocol != null && $Object.hasOwnProperty.call(message, "protocol") && message.protocol !== 0)
                    writer.uint32(8).uint32(message.protocol);
                if (message.original != null && $Object.hasOwnProperty.call(message, "original"))
                    $root.tungate.state.Tuple.encode(message.original, writer.uint32(18).fork(), _depth + 1).ldelim();
                if (message.reply != null && $Object.hasOwnProperty.call(message, "reply"))
                    $root.tungate.state.Tuple.encode(message.reply, writer.uint32(26).fork(), _depth + 1).ldelim();
                if (message.seconds != null && $Object.hasOwnProperty.call(message, "seconds") && message.seconds !== 0)
                    writer.uint32(32).uint32(message.seconds);
                if (message.originalBytes != null && $Object.hasOwnProperty.call(message, "originalBytes") && !$Object.is(message.originalBytes, 0))
                    writer.uint32(41).double(message.originalBytes);
                if (message.replyBytes != null && $Object.hasOwnProperty.call(message, "replyBytes") && !$Object.is(message.replyBytes, 0))
                    writer.uint32(49).double(message.replyBytes);
                if (message.mapped != null && $Object.hasOwnProperty.call(message, "mapped") && message.mapped !== false)
                    writer.uint32(56).bool(message.mapped);
                if (message.state != null && $Object.hasOwnProperty.call(message, "state") && message.state !== 0)
                    writer.uint32(64).int32(message.state);
                if (message.flags != null && message.flags.length)
                    writer.uint32(74).int32s(message.flags);
                if (message.tcp != null && $Object.hasOwnProperty.call(message, "tcp"))
                    $root.tungate.state.Tcp.encode(message.tcp, writer.uint32(82).fork(), _depth + 1).ldelim();
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            Flow.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message, value;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.Flow();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.protocol = value;
                            else
                                delete message.protocol;
                            continue;
                        }
                    case 2: {
                            if (wireType !== 2)
                                break;
                            message.original = $root.tungate.state.Tuple.decode(reader, reader.size(), $undefined, _depth + 1, message.original);
                            continue;
                        }
                    case 3: {
                            if (wireType !== 2)
                                break;
                            message.reply = $root.tungate.state.Tuple.decode(reader, reader.size(), $undefined, _depth + 1, message.reply);
                            continue;
                        }
                    case 4: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.seconds = value;
                            else
                                delete message.seconds;
                            continue;
                        }
                    case 5: {
                            if (wireType !== 1)
                                break;
                            if (!$Object.is(value = reader.double(), 0))
                                message.originalBytes = value;
                            else
                                delete message.originalBytes;
                            continue;
                        }
                    case 6: {
                            if (wireType !== 1)
                                break;
                            if (!$Object.is(value = reader.double(), 0))
                                message.replyBytes = value;
                            else
                                delete message.replyBytes;
                            continue;
                        }
                    case 7: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.bool())
                                message.mapped = value;
                            else
                                delete message.mapped;
                            continue;
                        }
                    case 8: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.int32())
                                message.state = value;
                            else
                                delete message.state;
                            continue;
                        }
                    case 9: {
                            if (wireType === 2) {
                                if (!(message.flags && message.flags.length))
                                    message.flags = [];
                                reader.int32s(message.flags);
                                continue;
                            }
                            if (wireType !== 0)
                                break;
                            if (!(message.flags && message.flags.length))
                                message.flags = [];
                            message.flags.push(reader.int32());
                            continue;
                        }
                    case 10: {
                            if (wireType !== 2)
                                break;
                            message.tcp = $root.tungate.state.Tcp.decode(reader, reader.size(), $undefined, _depth + 1, message.tcp);
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return Flow;
        })();

        state.State = (function() {
            const valuesById = $Object.create(null), values = $Object.create(valuesById);
            values[valuesById[0] = "NONE"] = 0;
            values[valuesById[1] = "SYN_SENT"] = 1;
            values[valuesById[2] = "SYN_RECV"] = 2;
            values[valuesById[3] = "ESTABLISHED"] = 3;
            values[valuesById[4] = "FIN_WAIT"] = 4;
            values[valuesById[5] = "CLOSE_WAIT"] = 5;
            values[valuesById[6] = "LAST_ACK"] = 6;
            values[valuesById[7] = "TIME_WAIT"] = 7;
            values[valuesById[8] = "CLOSE"] = 8;
            values[valuesById[9] = "SYN_SENT2"] = 9;
            return values;
        })();

        state.Flag = (function() {
            const valuesById = $Object.create(null), values = $Object.create(valuesById);
            values[valuesById[0] = "NO_FLAG"] = 0;
            values[valuesById[1] = "FIN0"] = 1;
            values[valuesById[2] = "FIN1"] = 2;
            values[valuesById[3] = "FIN0_ACKED"] = 3;
            values[valuesById[4] = "FIN1_ACKED"] = 4;
            values[valuesById[5] = "REPLIED"] = 5;
            values[valuesById[6] = "ASSURED"] = 6;
            values[valuesById[7] = "OUTBOUND"] = 7;
            values[valuesById[8] = "PLAIN"] = 8;
            values[valuesById[9] = "HAIRPIN"] = 9;
            values[valuesById[10] = "INBOUND"] = 10;
            values[valuesById[11] = "FORWARD"] = 11;
            values[valuesById[12] = "LOOSE"] = 12;
            return values;
        })();

        state.Tcp = (function() {

            const Tcp = function (properties) {
                if (properties)
                    for (let keys = $Object.keys(properties), i = 0; i < keys.length; ++i)
                        if (properties[keys[i]] != null && keys[i] !== "__proto__")
                            this[keys[i]] = properties[keys[i]];
            };

            Tcp.prototype.end0 = 0;
            Tcp.prototype.end1 = 0;
            Tcp.prototype.ack0 = 0;
            Tcp.prototype.ack1 = 0;
            Tcp.prototype.window0 = 0;
            Tcp.prototype.window1 = 0;
            Tcp.prototype.scale0 = 0;
            Tcp.prototype.scale1 = 0;

            Tcp.encode = function (message, writer, _depth) {
                if (!writer)
                    writer = $Writer.create();
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $util.recursionLimit)
                    throw $Error("max depth exceeded");
                if (message.end0 != null && $Object.hasOwnProperty.call(message, "end0") && message.end0 !== 0)
                    writer.uint32(13).fixed32(message.end0);
                if (message.end1 != null && $Object.hasOwnProperty.call(message, "end1") && message.end1 !== 0)
                    writer.uint32(21).fixed32(message.end1);
                if (message.ack0 != null && $Object.hasOwnProperty.call(message, "ack0") && message.ack0 !== 0)
                    writer.uint32(29).fixed32(message.ack0);
                if (message.ack1 != null && $Object.hasOwnProperty.call(message, "ack1") && message.ack1 !== 0)
                    writer.uint32(37).fixed32(message.ack1);
                if (message.window0 != null && $Object.hasOwnProperty.call(message, "window0") && message.window0 !== 0)
                    writer.uint32(40).uint32(message.window0);
                if (message.window1 != null && $Object.hasOwnProperty.call(message, "window1") && message.window1 !== 0)
                    writer.uint32(48).uint32(message.window1);
                if (message.scale0 != null && $Object.hasOwnProperty.call(message, "scale0") && message.scale0 !== 0)
                    writer.uint32(56).uint32(message.scale0);
                if (message.scale1 != null && $Object.hasOwnProperty.call(message, "scale1") && message.scale1 !== 0)
                    writer.uint32(64).uint32(message.scale1);
                if (message.$unknowns != null && $Object.hasOwnProperty.call(message, "$unknowns"))
                    for (let i = 0; i < message.$unknowns.length; ++i)
                        writer.raw(message.$unknowns[i]);
                return writer;
            };

            Tcp.decode = function (reader, length, _end, _depth, _target) {
                if (!(reader instanceof $Reader))
                    reader = $Reader.create(reader);
                if (_depth === $undefined)
                    _depth = 0;
                if (_depth > $Reader.recursionLimit)
                    throw $Error("max depth exceeded");
                let end, message, value;
                if (length === $undefined)
                    end = reader.len;
                else {
                    end = reader.pos + length;
                    if (end > reader.len)
                        throw $RangeError("index out of range");
                    length = reader.len;
                    reader.len = end;
                }
                message = _target || new $root.tungate.state.Tcp();
                while (reader.pos < end) {
                    let start = reader.pos;
                    let tag = reader.tag();
                    if (tag === _end) {
                        _end = $undefined;
                        break;
                    }
                    let wireType = tag & 7;
                    switch (tag >>>= 3) {
                    case 1: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.end0 = value;
                            else
                                delete message.end0;
                            continue;
                        }
                    case 2: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.end1 = value;
                            else
                                delete message.end1;
                            continue;
                        }
                    case 3: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.ack0 = value;
                            else
                                delete message.ack0;
                            continue;
                        }
                    case 4: {
                            if (wireType !== 5)
                                break;
                            if (value = reader.fixed32())
                                message.ack1 = value;
                            else
                                delete message.ack1;
                            continue;
                        }
                    case 5: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.window0 = value;
                            else
                                delete message.window0;
                            continue;
                        }
                    case 6: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.window1 = value;
                            else
                                delete message.window1;
                            continue;
                        }
                    case 7: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.scale0 = value;
                            else
                                delete message.scale0;
                            continue;
                        }
                    case 8: {
                            if (wireType !== 0)
                                break;
                            if (value = reader.uint32())
                                message.scale1 = value;
                            else
                                delete message.scale1;
                            continue;
                        }
                    }
                    reader.skipType(wireType, _depth, tag);
                    if (!reader.discardUnknown) {
                        $util.makeProp(message, "$unknowns", false);
                        (message.$unknowns || (message.$unknowns = [])).push(reader.raw(start, reader.pos));
                    }
                }
                if (length !== $undefined) {
                    if (reader.pos !== end)
                        throw $RangeError("index out of range");
                    reader.len = length;
                }
                if (_end !== $undefined)
                    throw $Error("missing end group");
                return message;
            };

            return Tcp;
        })();

        return state;
    })();

    return tungate;
})();

export {
  $root as default
};
