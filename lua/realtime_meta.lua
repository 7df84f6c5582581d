---@meta
-- Types of the module for the Lua language server (LuaLS). Not loaded by the game: put it where your editor looks.

---Realtime events through Redis. `require("realtime")` sets this table.
realtime = {}

---Version of the module, such as "0.1.0".
---@type string
realtime.Version = ""

---JSON's null inside an array. A light userdata: compare with `==`.
---@type lightuserdata
realtime.Null = nil

---What is known of an event beside its data.
---@class realtime.Meta
---@field pattern? string the pattern of the listener that is called, when it listens to one
---@field raw? boolean the payload was no JSON: `data` is its bytes
---@field server? string the name of the server that sent it; this and the rest only of objects that another module sent
---@field seq? integer its number on its channel, from 1
---@field sent? number Unix time of the sender's clock, in seconds with fractions
---@field own? boolean this very process sent it

---Publishes an event; never waits. What can be sent: tables, strings, numbers, booleans.
---@param channel string
---@param data table|string|number|boolean
---@return boolean queued false: nothing happened
---@return string? reason starts with a code: `queue_full`, `too_large`, `encode`, `closed`
function realtime.Emit(channel, data) end

---Listens to a channel, or to a pattern when the name has `*`, `?` or `[`. The same id on the same channel replaces.
---@param channel string
---@param id string
---@param callback fun(data: any, channel: string, meta: realtime.Meta)
---@return string? id
---@return string? reason
---@overload fun(channel: string, callback: fun(data: any, channel: string, meta: realtime.Meta)): string?, string?
function realtime.On(channel, id, callback) end

---Removes one listener of the channel, or all of them.
---@param channel string
---@param id? string
---@return integer removed
function realtime.Off(channel, id) end

---How the connection stands.
---@return "connected"|"connecting"|"auth_failed"|"closed" state
---@return string detail
function realtime.Status() end

---@class realtime.Queue
---@field in integer everything offered, refused ones included
---@field delivered integer
---@field dropped table<string, integer> by reason
---@field waiting integer

---@class realtime.Percentiles
---@field count integer
---@field p50_us number
---@field p99_us number
---@field max_us number

---@class realtime.Stats
---@field outbox realtime.Queue publishes: delivered means Redis answered
---@field inbox realtime.Queue events: delivered means every listener was called
---@field notices realtime.Queue game hooks: delivered means it was run
---@field listeners integer
---@field calls integer
---@field call_errors integer
---@field reconnects integer connections lost after they were ready
---@field connect_failures integer attempts to connect that failed
---@field resent integer publishes written again
---@field missed integer events of other servers that never came, as told by `RealtimeGap`
---@field relayed integer events whose `_rt` is of another channel, or malformed
---@field refused_too_large integer emits over a size limit
---@field refused_encode integer emits with a value that has no JSON
---@field subscriptions_refused integer by Redis, such as NOPERM
---@field non_finite integer NaN and infinities sent as null
---@field raw integer payloads that are no JSON
---@field panics integer
---@field console_lines_dropped integer
---@field pump realtime.Percentiles work of each tick that had any
---@field wait realtime.Percentiles an event's wait from its arrival to its turn
---@field latency realtime.Percentiles from the sending of an event to its turn, by the clocks of both servers

---The module's own numbers. At rest, for each queue: in = delivered + all dropped + waiting.
---@return realtime.Stats
function realtime.Stats() end

-- Game hooks, for hook.Add. None of them takes a return value.
-- RealtimeConnected()
-- RealtimeDisconnected(reason: string)
-- RealtimeGap(channel: string, server: string, missed: integer)
-- RealtimeOverflow(queue: string, dropped: integer)
-- RealtimeError(operation: "connect"|"subscribe"|"publish"|"receive", target: string, reason: string)
