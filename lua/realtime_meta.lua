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
---@field raw? boolean `data` is the text of the payload: it is no JSON, has more than 32 levels or 15,000 values, or took Lua too long
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

---@alias realtime.Callback fun(value: any, err?: string) called in a later tick; err starts with a code

---@class realtime.Row
---@field rank integer from 1
---@field name string
---@field score number

---Stores a value; never waits. A string is stored as its bytes, a number as decimal text, a table as JSON.
---@param key string
---@param value string|number|boolean|table
---@param callback? realtime.Callback told `true`, or nil and why
---@return boolean queued false: nothing happened
---@return string? reason starts with a code: `queue_full`, `too_large`, `encode`, `closed`
function realtime.Set(key, value, callback) end

---As `Set`, with an expiry.
---@param key string
---@param value string|number|boolean|table
---@param seconds integer from 1 on
---@param callback? realtime.Callback
---@return boolean queued
---@return string? reason
function realtime.SetEx(key, value, seconds, callback) end

---The stored bytes, or nil for no key. Without a callback it waits `sync_timeout_ms` at most; with one it returns true.
---@param key string
---@return string? value
---@return string? reason starts with a code: `timeout`, `disconnected`, `redis`, `too_large`, `closed`
---@overload fun(key: string, callback: realtime.Callback): true?, string?
function realtime.Get(key) end

---As `Get`, with the stored JSON decoded.
---@param key string
---@return any value
---@return string? reason also `decode`
---@overload fun(key: string, callback: realtime.Callback): true?, string?
function realtime.GetTable(key) end

---Counts, once even if an answer is lost; never waits.
---@param key string
---@param by number 1 if left out
---@param callback? realtime.Callback told the new value
---@return boolean queued
---@return string? reason
---@overload fun(key: string, callback?: realtime.Callback): boolean, string?
function realtime.Incr(key, by, callback) end

---Deletes keys. A function in the last place is the callback, told how many there were.
---@param key string
---@param ... string|realtime.Callback
---@return boolean queued
---@return string? reason
function realtime.Del(key, ...) end

---@param key string
---@param seconds integer
---@param callback? realtime.Callback told 1, or 0 if there is no such key
---@return boolean queued
---@return string? reason
function realtime.Expire(key, seconds, callback) end

---Any Redis command that does not change the connection or block it. Raw: without the prefix. Never sent twice.
---@param words (string|number|boolean)[]
---@param callback? realtime.Callback told the reply
---@return boolean queued
---@return string? reason
function realtime.Command(words, callback) end

---The best `n` of a sorted set, or with one `*` in the name, of the counters whose keys match.
---@param board string
---@param n integer from 1 on
---@return table<string, number>? map
---@return realtime.Row[]|string ranked the rows, best first; or the reason
---@overload fun(board: string, n: integer, callback: fun(map?: table<string, number>, err?: string, ranked?: realtime.Row[])): true?, string?
function realtime.GetLeaderboard(board, n) end

---@class realtime.LogOptions
---@field start_time? number Unix seconds, fractions allowed; included
---@field end_time? number the same
---@field channel? string exactly this one
---@field limit? integer 1 to 100000; 1000 if left out
---@field newest_first? boolean

---@class realtime.Record
---@field time number Unix seconds, to the millisecond
---@field seq integer its number in the log, from 1 on
---@field channel string
---@field data any as a listener would get it

---Reads an event log below `garrysmod/data/`. If it has no file yet: empty if a hook of this server writes it, else a
---reason. Without a callback it takes `sync_timeout_ms` at most; with one it returns true.
---@param path string
---@param options? realtime.LogOptions
---@return realtime.Record[]? records oldest first
---@return string? reason starts with a code: `encode`, `file`, `timeout`, `too_large`, `queue_full`, `closed`
---@overload fun(path: string, options: realtime.LogOptions?, callback: fun(records?: realtime.Record[], err?: string)): true?, string?
---@overload fun(path: string, callback: fun(records?: realtime.Record[], err?: string)): true?, string?
function realtime.ReadEventLog(path, options) end

---@alias realtime.Scope "fleet"|"each" one server of the fleet acts, or every one
---@alias realtime.Test {eq?: any, ne?: any, lt?: number, le?: number, gt?: number, ge?: number, one_of?: any[]}
---@alias realtime.Where table<string, string|number|boolean|realtime.Test> by dotted path; all must hold

---@class realtime.DiscordSpec
---@field type "discord"
---@field webhook_url? string or `webhook`
---@field webhook? string
---@field format? string a template; or `message`, or `embed`
---@field message? string
---@field embed? table title, description, url, color, fields, footer, author, image, thumbnail, timestamp
---@field username? string
---@field avatar_url? string
---@field allow_mentions? boolean mentions that `format` itself writes may ping; false if left out
---@field where? realtime.Where
---@field scope? realtime.Scope

---@class realtime.HttpSpec
---@field type "http"
---@field url string a template
---@field method? "POST"|"PUT"|"PATCH"|"DELETE"|"GET"|"HEAD"
---@field headers? table<string, string> values are templates; `Content-Type` says how `format` is escaped
---@field format? string "json", the default, or a template
---@field timeout? number seconds
---@field where? realtime.Where
---@field scope? realtime.Scope

---@class realtime.FileSpec
---@field type "file"
---@field path string below garrysmod/data/
---@field format? "json"|"binary"
---@field max_bytes? integer
---@field max_files? integer 0: keeps all
---@field where? realtime.Where
---@field scope? realtime.Scope "each" if left out

---@class realtime.CounterSpec
---@field type "counter"
---@field key string a template
---@field action? "incr"|"decr"
---@field by? integer
---@field ttl? integer seconds from its birth
---@field where? realtime.Where
---@field scope? realtime.Scope

---@class realtime.LeaderboardSpec
---@field type "leaderboard"
---@field board string a template
---@field member string a template
---@field by? number
---@field ttl? integer
---@field where? realtime.Where
---@field scope? realtime.Scope

---@alias realtime.ActionSpec realtime.DiscordSpec|realtime.HttpSpec|realtime.FileSpec|realtime.CounterSpec|realtime.LeaderboardSpec

---@class realtime.ConditionalSpec
---@field type "conditional"
---@field condition fun(data: any, channel: string): boolean?
---@field actions realtime.ActionSpec[]
---@field where? realtime.Where
---@field scope? realtime.Scope what its actions have if they say nothing

---@class realtime.AggregatorSpec
---@field interval integer seconds, 1 to 86400
---@field aggregate fun(events: any[]): table? nil: no action
---@field actions realtime.ActionSpec[]
---@field max_events? integer 10000 if left out

---Acts on every event of the channel or pattern, without Lua. The same id on the same channel replaces.
---@param channel string
---@param id string
---@param spec realtime.ActionSpec|realtime.ConditionalSpec
---@return string? id
---@return string? reason names the member; nothing is changed
---@overload fun(channel: string, spec: realtime.ActionSpec|realtime.ConditionalSpec): string?, string?
function realtime.AddHook(channel, id, spec) end

---Removes the hook of this id on the channel; without a channel, on every one.
---@param channel string
---@param id string
---@return boolean removed whether there was such a hook
---@overload fun(id: string): boolean
function realtime.RemoveHook(channel, id) end

---Collects the events of the channel or pattern, and has a function sum up each stretch of time.
---@param channel string
---@param id string
---@param spec realtime.AggregatorSpec
---@return string? id
---@return string? reason names the member; nothing is changed
---@overload fun(channel: string, spec: realtime.AggregatorSpec): string?, string?
function realtime.AddAggregator(channel, id, spec) end

---Removes the aggregator of this id on the channel, with what it collected; without a channel, on every one.
---@param channel string
---@param id string
---@return boolean removed whether there was such an aggregator
---@overload fun(id: string): boolean
function realtime.RemoveAggregator(channel, id) end

---Changes settings: all of them or none. The operator's file and environment stay above them.
---@param options table<string, string|number|boolean>
---@return boolean taken
---@return string? reason
function realtime.Configure(options) end

---@class realtime.Percentiles
---@field count integer
---@field p50_us number
---@field p99_us number
---@field max_us number

---@class realtime.Stats
---@field outbox realtime.Queue publishes, values and counters: delivered means Redis did it
---@field inbox realtime.Queue events: delivered means every listener was called
---@field notices realtime.Queue game hooks: delivered means it was run
---@field replies realtime.Queue answers for callbacks: delivered means it was called
---@field actions realtime.Queue events of this server that hooks act on: delivered means each action was handed on
---@field aggregates realtime.Queue events collected by aggregators: delivered means the function was called with it
---@field webhooks realtime.Queue Discord messages and requests: delivered means an answer of success
---@field destinations table[] each place that is posted to: its `name` without secrets, the `hook` whose post came last, and how it stands
---@field files realtime.Queue records for event logs: delivered means written
---@field event_logs table<string, integer> what event logs did to the disk
---@field hooks integer
---@field aggregators integer
---@field windows integer those that were summed up
---@field aggregate_errors integer functions of aggregators that raised an error or returned no event
---@field conditions integer functions of conditionals that were asked
---@field condition_errors integer
---@field actions_unmade integer actions whose event lacks a field of their key
---@field dead_letters_lost integer lines that the dead-letter file did not take
---@field spool_unreadable integer lines of a spool that could not be read, and files in its place that are none
---@field callbacks integer those that wait for an answer
---@field replies_too_large integer answers replaced by an error, as too many bytes waited for the tick
---@field reads_timed_out integer readers that waited in vain
---@field reads_failed_fast integer readers that did not wait
---@field limits string[] what Redis does not do for this user, and what that means; empty if all is well
---@field beside_failures integer times to live, and ends of leases, that Redis refused
---@field events_without_lease integer events of others on which a fleet hook did not act, as nobody was known to hold its lease
---@field numbers_implausible integer events whose `_rt` has a number that no server reaches
---@field numbers_renewed integer how often a server's numbers were taken anew, after forged ones
---@field listeners integer
---@field calls integer
---@field call_errors integer
---@field reconnects integer connections lost after they were ready
---@field connect_failures integer attempts to connect that failed
---@field resent integer commands written again
---@field missed integer events of other servers that never came, as told by `RealtimeGap`
---@field relayed integer events whose `_rt` is of another channel, or malformed
---@field refused_too_large integer emits over a size limit
---@field refused_encode integer emits with a value that has no JSON
---@field subscriptions_refused integer by Redis, such as NOPERM
---@field non_finite integer NaN and infinities sent as null
---@field raw integer payloads that are no JSON
---@field raw_over_limits integer payloads with more than 32 levels or 15,000 values, delivered as text
---@field raw_slow integer events of which Lua could not make a value in time, delivered as text
---@field panics integer
---@field log_lines_held_back integer one of many of their cause in ten seconds
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
-- RealtimeActionFailed(hook_id: string, type: string, reason: string)
-- RealtimeError(operation: "connect"|"subscribe"|"publish"|"receive"|"set"|"setex"|"incr"|"del"|"expire"|"command"|"counter"|"script"|"lease"|"file", target: string, reason: string)
