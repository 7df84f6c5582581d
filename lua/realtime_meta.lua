---@meta
-- Types of the module for the Lua language server (LuaLS). The game does not load this file: add it to your editor's library.

---Realtime events through Redis. `require("realtime")` sets this table.
realtime = {}

---Version of the module, such as "0.1.0".
---@type string
realtime.Version = ""

---JSON's null inside an array. It is a light userdata: compare it with `==`.
---@type lightuserdata
realtime.Null = nil

---Information about an event besides its data.
---@class realtime.Meta
---@field pattern? string the pattern of this listener, if it listens to a pattern
---@field missed? boolean true if the event comes late, from the stream of its channel (`realtime.ListenOptions`)
---@field raw? boolean `data` is the payload's text, because it is no JSON, has more than 32 levels or 15,000 values, or took Lua too long
---@field server? string the name of the sending server; this and the fields below exist only for objects that this module sent, here or on another server
---@field seq? integer the event's number on its channel, from 1
---@field sent? number Unix time by the sender's clock, in seconds with fractions
---@field own? boolean whether this process sent the event

---Publishes an event. Never waits.
---@param channel string
---@param data table|string|number|boolean
---@return boolean queued if false, nothing happened
---@return string? reason starts with a code: `queue_full`, `too_large`, `encode`, `closed`
function realtime.Emit(channel, data) end

---@class realtime.ListenOptions
---@field missed? boolean also get the events that came while this server was away, its link was down or the map changed, if `Keep` was called where they were emitted; needs an id and one channel

---Listens to a channel, or to a pattern if the name contains `*`, `?` or `[`. A listener with the same id on the same channel
---is replaced.
---@param channel string
---@param id string
---@param callback fun(data: any, channel: string, meta: realtime.Meta)
---@param options? realtime.ListenOptions
---@return string? id
---@return string? reason
---@overload fun(channel: string, callback: fun(data: any, channel: string, meta: realtime.Meta)): string?, string?
function realtime.On(channel, id, callback, options) end

---Removes one listener of the channel, or all of them.
---@param channel string
---@param id? string
---@return integer removed
function realtime.Off(channel, id) end

---The state of the connection, and a sentence about it.
---@return "connected"|"embedded"|"connecting"|"auth_failed"|"closed" state
---@return string detail
function realtime.Status() end

---@class realtime.Queue
---@field in integer all items offered, refused ones included
---@field delivered integer
---@field dropped table<string, integer> by reason
---@field waiting integer

---@class realtime.PostQueue : realtime.Queue
---@field on_disk integer those of the waiting items that wait on the disk

---@alias realtime.Callback fun(value: any, err?: string) is called in a later tick; err starts with a code

---@class realtime.Row
---@field rank integer from 1
---@field name string
---@field score number

---@class realtime.KeepOptions
---@field max_events? integer events in the stream of one channel, about: 1 to 1000000; 10000 if left out
---@field max_age? integer seconds from the last event of a channel to the end of its stream: 1 to 2592000 (30 days); 86400 if left out

---@class realtime.KeptEvent
---@field data any as a listener would get it
---@field channel string
---@field time number Unix seconds by the clock of Redis, to the millisecond
---@field id string the entry of the stream, as XRANGE takes it

---Has Redis keep the events of a channel or pattern that this server emits from now on, for `History`; `false` ends it.
---Needs Redis 5 or later, or the embedded server.
---@param channel string with `*`, `?` or `[` a pattern
---@param options? realtime.KeepOptions|false
---@return boolean kept
---@return string? reason starts with a code: `config`, `encode`, `too_large`, `closed`
function realtime.Keep(channel, options) end

---Reads the last `n` events of a channel that Redis keeps, newest last. Without a callback it waits, at most
---`sync_timeout_ms`, and does not wait for events emitted just before; with one it returns true.
---@param channel string
---@param n integer 1 to 1000
---@return realtime.KeptEvent[]? events
---@return string? reason
---@overload fun(channel: string, n: integer, callback: fun(events?: realtime.KeptEvent[], err?: string)): true?, string?
function realtime.History(channel, n) end

---Stores a value. Never waits. A string is stored as its bytes, a number as decimal text, a table as JSON.
---@param key string
---@param value string|number|boolean|table
---@param callback? realtime.Callback gets `true`, or nil and the reason
---@return boolean queued if false, nothing happened
---@return string? reason starts with a code: `queue_full`, `too_large`, `encode`, `closed`
function realtime.Set(key, value, callback) end

---As `Set`, with a time to live.
---@param key string
---@param value string|number|boolean|table
---@param seconds integer at least 1
---@param callback? realtime.Callback
---@return boolean queued
---@return string? reason
function realtime.SetEx(key, value, seconds, callback) end

---Reads the stored bytes; nil if there is no such key. Without a callback it waits, at most `sync_timeout_ms`; with one it
---returns true.
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

---Adds to a counter, exactly once even if an answer is lost. Never waits.
---@param key string
---@param by number 1 if left out
---@param callback? realtime.Callback gets the new value
---@return boolean queued
---@return string? reason
---@overload fun(key: string, callback?: realtime.Callback): boolean, string?
function realtime.Incr(key, by, callback) end

---Deletes keys. If the last argument is a function, it is the callback and gets the number of deleted keys.
---@param key string
---@param ... string|realtime.Callback
---@return boolean queued
---@return string? reason
function realtime.Del(key, ...) end

---@param key string
---@param seconds integer
---@param callback? realtime.Callback gets 1, or 0 if there is no such key
---@return boolean queued
---@return string? reason
function realtime.Expire(key, seconds, callback) end

---Sends any Redis command that neither changes the connection nor blocks it. The module adds no prefix and never sends it
---twice.
---@param words (string|number|boolean)[]
---@param callback? realtime.Callback gets the reply
---@return boolean queued
---@return string? reason
function realtime.Command(words, callback) end

---Reads the best `n` of a sorted set. If the name contains one `*`: of the counters whose keys match.
---@param board string
---@param n integer at least 1
---@return table<string, number>? map
---@return realtime.Row[]|string ranked the rows, best first, or the reason
---@overload fun(board: string, n: integer, callback: fun(map?: table<string, number>, err?: string, ranked?: realtime.Row[])): true?, string?
function realtime.GetLeaderboard(board, n) end

---A server that is up. A member is missing if the game did not tell it. Times are by that server's clock.
---@class realtime.Server
---@field name string
---@field map? string
---@field gamemode? string
---@field hostname? string
---@field players? integer
---@field max_players? integer
---@field started? integer Unix seconds, when its process began
---@field seen? integer Unix seconds, when it last renewed its key
---@field version? string of the module

---The servers that are up, by their names.
---@return realtime.Server[]? servers
---@return string? reason
---@overload fun(callback: fun(servers?: realtime.Server[], err?: string)): true?, string?
function realtime.Servers() end

---The server that a player is on. Only servers with the option `presence_players` show their players.
---@param steamid64 string
---@return {server: string, name: string}? found
---@return string? reason
---@overload fun(steamid64: string, callback: fun(found?: {server: string, name: string}, err?: string)): true?, string?
function realtime.FindPlayer(steamid64) end

---@class realtime.LogOptions
---@field start_time? number Unix seconds, fractions allowed, inclusive
---@field end_time? number Unix seconds, fractions allowed, inclusive
---@field channel? string exact name
---@field limit? integer 1 to 100000; 1000 if left out
---@field newest_first? boolean reverses the order, so that `limit` takes the newest records

---@class realtime.Record
---@field time number Unix seconds, to the millisecond
---@field seq integer the record's number in the log, from 1
---@field channel string
---@field data any as a listener would get it

---Reads an event log below `garrysmod/data/`. If the log has no file yet, the answer is empty if a hook of this server writes
---the log, else a reason. Without a callback reading takes at most `sync_timeout_ms`; with one the function returns true.
---@param path string
---@param options? realtime.LogOptions
---@return realtime.Record[]? records oldest first
---@return string? reason starts with a code: `encode`, `file`, `timeout`, `too_large`, `queue_full`, `closed`
---@overload fun(path: string, options: realtime.LogOptions?, callback: fun(records?: realtime.Record[], err?: string)): true?, string?
---@overload fun(path: string, callback: fun(records?: realtime.Record[], err?: string)): true?, string?
function realtime.ReadEventLog(path, options) end

---@alias realtime.Scope "fleet"|"each" one server of the fleet acts, or every server
---@class realtime.Test conditions of one field; all must be true
---@field eq? string|number|boolean
---@field ne? string|number|boolean
---@field lt? number
---@field le? number
---@field gt? number
---@field ge? number
---@field one_of? (string|number|boolean)[]
---@field contains? string|number|boolean a part of a text, or an entry of a list
---@field starts_with? string
---@field exists? boolean
---@field all_of? realtime.FieldCondition[]
---@field any_of? realtime.FieldCondition[] at least one holds
---@field none_of? realtime.FieldCondition[]
---@field ["not"]? realtime.FieldCondition

---@alias realtime.FieldCondition string|number|boolean|realtime.Test

---@class realtime.Where conditions by dotted path; all must be true. A field named like a group has a dot before it
---@field all_of? realtime.Where[]
---@field any_of? realtime.Where[] at least one holds
---@field none_of? realtime.Where[]
---@field ["not"]? realtime.Where
---@field [string] realtime.FieldCondition

---@class realtime.Batch several events in one request
---@field max? integer events, 100 if left out, at most 1000
---@field seconds? number the first event waits so long for others, 3 if left out, at most 300

---@class realtime.DiscordSpec
---@field type "discord"
---@field webhook_url? string or `webhook`
---@field webhook? string
---@field format? string a template; or `message`, or `embed`
---@field message? string
---@field embed? table title, description, url, color, fields, footer, author, image, thumbnail, timestamp
---@field username? string a template
---@field avatar_url? string a template; `"{avatar}"` takes the whole URL from the event
---@field allow_mentions? boolean mentions that `format` itself contains may ping; false if left out
---@field thread_id? string the id, in quotes, of the thread that gets the messages
---@field thread_name? string a template; each message begins a post of a forum with this title
---@field applied_tags? string[] ids of up to five tags of that post
---@field silent? boolean no notifications
---@field suppress_embeds? boolean no previews of links
---@field retry_for? number seconds for which a post is tried, 3600 if left out, at most 259200; if more than 3600, it may wait on the disk
---@field attempts? integer failed attempts after which a post is given up, 20 if left out, any number if `retry_for` is set
---@field where? realtime.Where
---@field scope? realtime.Scope

---One message that is created once and then edited. Placeholders of its texts: server, hostname, map, gamemode, players,
---max_players, uptime, started, time, events.
---@class realtime.DiscordStatusSpec
---@field type "discord_status"
---@field webhook_url? string or `webhook`
---@field webhook? string
---@field format? string a template; or `message`, or `embed`
---@field message? string
---@field embed? table as in `realtime.DiscordSpec`
---@field username? string
---@field avatar_url? string
---@field interval? integer seconds between two edits, 10 to 86400; 60 if left out
---@field events? integer lines of `{events}`, 1 to 25; 5 if left out
---@field event_format? string a template: the line of an event, for `{events}`
---@field where? realtime.Where chooses the events
---@field scope? realtime.Scope "each" if left out: a message for each server

---@class realtime.HttpSpec
---@field type "http"
---@field url string a template
---@field method? "POST"|"PUT"|"PATCH"|"DELETE"|"GET"|"HEAD"
---@field headers? table<string, string> the values are templates; `Content-Type` decides how `format` is escaped
---@field format? string "json", the default, or a template such as '{"type":"{channel}","data":{event}}'; none with GET and HEAD
---@field secret? string|string[] signs each request (Standard Webhooks): "whsec_" and 24 to 64 bytes as base64, or up to 4 of them
---@field timeout? number seconds
---@field retry_for? number seconds for which a post is tried, 3600 if left out, at most 259200; if more than 3600, it may wait on the disk
---@field attempts? integer failed attempts after which a post is given up, 20 if left out, any number if `retry_for` is set
---@field batch? realtime.Batch a JSON array of the events, or with a template a line for each
---@field where? realtime.Where
---@field scope? realtime.Scope

---@class realtime.FileSpec
---@field type "file"
---@field path string below garrysmod/data/; may have `{channel}` and `{date}`
---@field format? "json"|"binary"
---@field max_bytes? integer
---@field max_files? integer 0 keeps all
---@field where? realtime.Where
---@field scope? realtime.Scope "each" if left out

---@class realtime.CounterSpec
---@field type "counter"
---@field key string a template
---@field action? "incr"|"decr"
---@field by? integer|string or a placeholder: `"{amount}"`, `"-{amount}"`
---@field ttl? integer seconds from its first count
---@field where? realtime.Where
---@field scope? realtime.Scope

---@class realtime.LeaderboardSpec
---@field type "leaderboard"
---@field board string a template
---@field member string a template
---@field by? number|string or a placeholder: `"{amount}"`, `"-{amount}"`
---@field ttl? integer
---@field where? realtime.Where
---@field scope? realtime.Scope

---@alias realtime.ActionSpec realtime.DiscordSpec|realtime.HttpSpec|realtime.FileSpec|realtime.CounterSpec|realtime.LeaderboardSpec

---@class realtime.ConditionalSpec
---@field type "conditional"
---@field condition fun(data: any, channel: string): boolean?
---@field actions realtime.ActionSpec[]
---@field where? realtime.Where
---@field scope? realtime.Scope the default of its actions

---@class realtime.AggregatorSpec
---@field interval integer|"day"|"week"|"month" seconds, 1 to 86400
---@field at? string for days, weeks and months: the time of day at which they begin, "06:00"
---@field aggregate fun(events: any[]): table? for nil no action runs
---@field actions realtime.ActionSpec[]
---@field max_events? integer 10000 if left out

---Adds a hook: its actions run on every event of the channel or pattern, without Lua. A hook with the same id on the same
---channel is replaced.
---@param channel string
---@param id string
---@param spec realtime.ActionSpec|realtime.ConditionalSpec|realtime.DiscordStatusSpec
---@return string? id
---@return string? reason names the member; nothing is changed
---@overload fun(channel: string, spec: realtime.ActionSpec|realtime.ConditionalSpec|realtime.DiscordStatusSpec): string?, string?
function realtime.AddHook(channel, id, spec) end

---Removes the hook with this id from the channel; without a channel, from every channel.
---@param channel string
---@param id string
---@return boolean removed whether there was such a hook
---@overload fun(id: string): boolean
function realtime.RemoveHook(channel, id) end

---Adds an aggregator: it collects the events of the channel or pattern, and its function sums up each interval.
---@param channel string
---@param id string
---@param spec realtime.AggregatorSpec
---@return string? id
---@return string? reason names the member; nothing is changed
---@overload fun(channel: string, spec: realtime.AggregatorSpec): string?, string?
function realtime.AddAggregator(channel, id, spec) end

---Removes the aggregator with this id from the channel, with its collected events; without a channel, from every channel.
---@param channel string
---@param id string
---@return boolean removed whether there was such an aggregator
---@overload fun(id: string): boolean
function realtime.RemoveAggregator(channel, id) end

---Changes settings: all of them or none. The operator's file and environment override them.
---@param options table<string, string|number|boolean>
---@return boolean taken if false, nothing changed
---@return string? reason
function realtime.Configure(options) end

---@class realtime.Percentiles
---@field count integer
---@field p50_us number
---@field p99_us number
---@field max_us number

---@class realtime.Stats
---@field outbox realtime.Queue publishes, values and counters; delivered: Redis has done it
---@field inbox realtime.Queue events for Lua; delivered: every listener was called
---@field notices realtime.Queue calls of game hooks; delivered: the game hook was run
---@field replies realtime.Queue answers for callbacks; delivered: the callback was called
---@field actions realtime.Queue events of this server that hooks act on; delivered: each action was handed to its thread
---@field aggregates realtime.Queue events collected by aggregators; delivered: the function was called with the event
---@field webhooks realtime.PostQueue Discord messages and HTTP requests; delivered: the server answered with success
---@field destinations table[] each destination of posts: its `name` without secrets, the `hook` of the last post, its state, and how many posts wait `on_disk`
---@field files realtime.Queue records for event logs; delivered: written
---@field event_logs table<string, integer> operations of event logs on the disk; `held`: attempts put off, as another program held a file
---@field hooks integer registered hooks
---@field aggregators integer registered aggregators
---@field windows integer windows that were summed up
---@field aggregate_errors integer calls of aggregate functions that raised an error or returned no event
---@field conditions integer calls of condition functions
---@field condition_errors integer calls of condition functions that raised an error
---@field actions_unmade integer actions that could not be made, for example because the event lacks a field of the key
---@field message_parts_left_out integer URLs and colors that Discord messages went without, as the event gave none that can be used
---@field dead_letters_lost integer dead letters that could not be written
---@field files_held integer failed attempts to write the text log, the dead letters, a spool or posts on the disk, which were repeated
---@field metrics_unwritten integer failed attempts to write the metrics file, which is tried again every 15 s
---@field spool_unreadable integer lines of a spool or of posts on the disk that could not be read, and such files that are no plain files
---@field callbacks integer callbacks that wait for an answer
---@field replies_too_large integer answers replaced by an error, because too many bytes waited for the tick
---@field reads_timed_out integer readers that waited in vain
---@field reads_failed_fast integer readers that failed without waiting
---@field limits string[] rights or commands that Redis refuses this user, each with the consequence; empty if nothing is refused
---@field beside_failures integer times to live and releases of leases that Redis refused
---@field presence_skipped integer entries among the servers in Redis that no server wrote, each time that they were found
---@field events_without_lease integer events of others on which a fleet hook did not act, because no lease holder was known
---@field events_without_list integer events of others on which a fleet hook did not act, because the sender has more than 101 fleet hooks on the channel and does not list them
---@field numbers_implausible integer events whose `_rt` has a number that no server can have reached
---@field numbers_renewed integer how often a server's real numbers were taken again after forged ones
---@field listeners integer registered listeners
---@field calls integer calls of listeners
---@field call_errors integer calls that raised an error
---@field reconnects integer connections lost after they were ready
---@field connect_failures integer failed attempts to connect
---@field resent integer commands sent again
---@field kept integer events that Redis keeps (`Keep`)
---@field not_kept integer events that were published and could not be kept
---@field caught_up integer events that listeners with `missed` got from streams
---@field caught_up_repeats integer entries of streams that they had got before
---@field places_lost integer places of such listeners that Redis no longer had
---@field missed_dropped integer events outside the stream that came while such a listener read it, and found no room
---@field missed integer events of other servers that never arrived, as reported by `RealtimeGap`
---@field relayed integer events whose `_rt` belongs to another channel or is malformed
---@field refused_too_large integer calls refused for a size limit
---@field refused_encode integer calls refused for a value without a JSON form
---@field subscriptions_refused integer subscriptions that Redis refused, for example with NOPERM
---@field non_finite integer NaN and infinities sent as null
---@field raw integer payloads that are no JSON
---@field raw_over_limits integer payloads with more than 32 levels or 15,000 values, delivered as text
---@field raw_slow integer events for which Lua took too long, delivered as text
---@field panics integer internal errors of the module
---@field log_lines_held_back integer log lines left out, because each cause is logged at most once in ten seconds
---@field log_lines_lost integer lines that the text log lost, because it could not be written for long
---@field console_lines_dropped integer lines that the console did not show because too many waited; the log file has them
---@field pump realtime.Percentiles time of each tick with work
---@field wait realtime.Percentiles time from an event's arrival to its turn
---@field latency realtime.Percentiles time from the sending of an event to its turn, by the clocks of both servers

---Numbers of the module. For each idle queue: in = delivered + all dropped + waiting.
---@return realtime.Stats
function realtime.Stats() end

-- Game hooks, for hook.Add. The module ignores their return values.
-- RealtimeConnected()
-- RealtimeDisconnected(reason: string)
-- RealtimeGap(channel: string, server: string, missed: integer), with "" and 0 if nobody knows whose and how many
-- RealtimeServerUp(name: string)
-- RealtimeServerDown(name: string)
-- RealtimeOverflow(queue: string, dropped: integer)
-- RealtimeActionFailed(hook_id: string, type: string, reason: string)
-- RealtimeError(operation: "connect"|"subscribe"|"publish"|"receive"|"set"|"setex"|"incr"|"del"|"expire"|"command"|"counter"|"script"|"lease"|"presence"|"keep"|"missed"|"file", target: string, reason: string)

-- Standard events of lua/autorun/server/realtime_game_hooks.lua. Each event has the fields of `realtime.event.Base`.

---@class realtime.event.Position
---@field x number
---@field y number
---@field z number

---@class realtime.event.Base
---@field time integer Unix time in seconds
---@field server string the convar `hostname`

---@class realtime.event.Player: realtime.event.Base
---@field steamid64? string absent for a bot
---@field name string
---@field userid integer
---@field bot boolean

---Channel `player:spawn`.
---@class realtime.event.PlayerSpawn: realtime.event.Player
---@field first boolean whether it is the first spawn since the player joined
---@field team string
---@field pos realtime.event.Position

---Channel `player:connect`: the player begins to join.
---@class realtime.event.PlayerConnect: realtime.event.Player
---@field ip? string if `realtime_hook_ip` is 1

---Channel `player:disconnect`.
---@class realtime.event.PlayerDisconnect: realtime.event.Player
---@field reason? string from the game, or typed by the player
---@field seconds? integer since the player joined; absent if the player left before that

---Channel `player:death`.
---@class realtime.event.PlayerDeath: realtime.event.Base
---@field cause "player"|"suicide"|"npc"|"entity"|"world"
---@field victim string name
---@field victim_steamid64? string absent for a bot
---@field victim_bot boolean
---@field victim_pos realtime.event.Position
---@field killer string name of the player, class of the NPC or entity, or "world"
---@field killer_steamid64? string absent unless a human killed
---@field killer_bot? boolean for the causes `player` and `suicide`
---@field killer_pos? realtime.event.Position for the cause `player`
---@field distance? integer units between the two, for the cause `player`
---@field weapon? string class of the weapon, projectile, prop or vehicle; absent if there was none

---Channel `chat:message`: a line that players can read. The server console has the name "Console" and the user id 0.
---@class realtime.event.ChatMessage: realtime.event.Player
---@field text string
---@field team boolean whether only the team can read it
---@field alive? boolean absent for the console

---Channels `vehicle:spawn` and `vehicle:removed`.
---@class realtime.event.Vehicle: realtime.event.Base
---@field class string
---@field model string
---@field index integer of the entity
---@field pos realtime.event.Position
---@field owner? string name of the player who spawned or owns it
---@field owner_steamid64? string
---@field driver? string name of the player in it
---@field driver_steamid64? string

---Channel `server:start`: the first map of a server process is ready.
---@class realtime.event.ServerStart: realtime.event.Base
---@field map string
---@field gamemode string
---@field port integer
---@field max_players integer

---Channel `server:shutdown`: the server ends, or its map changes. The game does not tell which.
---@class realtime.event.ServerShutdown: realtime.event.Base
---@field map string
---@field players integer
---@field uptime integer seconds of the process

---Channel `map:change`: the new map is ready.
---@class realtime.event.MapChange: realtime.event.Base
---@field old string
---@field new string
---@field gamemode string

-- Events of lua/autorun/server/realtime_adapters.lua. Each event has the fields of `realtime.event.Adapted`.

---@class realtime.event.Adapted: realtime.event.Base
---@field source "ulx"|"sam"|"serverguard"|"cami"|"darkrp"|"awarn" the addon that reported it

---The person to whom it happened.
---@class realtime.event.Target: realtime.event.Adapted
---@field steamid64? string absent for a bot
---@field name? string absent if the person is not on the server and the addon has no name

---Something that an admin did.
---@class realtime.event.AdminAct: realtime.event.Target
---@field admin string name, SteamID64 if the admin is not on the server, or "Console"
---@field admin_steamid64? string absent for the console and for a script that acts by itself

---Channel `admin:ban`.
---@class realtime.event.Ban: realtime.event.AdminAct
---@field reason? string
---@field duration integer seconds, 0 for ever

---Channel `admin:unban`.
---@class realtime.event.Unban: realtime.event.AdminAct

---Channel `admin:kick`.
---@class realtime.event.Kick: realtime.event.AdminAct
---@field reason? string

---Channel `admin:warn`.
---@class realtime.event.Warn: realtime.event.AdminAct
---@field reason? string

---Channel `admin:rank`.
---@class realtime.event.Rank: realtime.event.Target
---@field old string
---@field new string
---@field duration? integer seconds, 0 for ever; SAM only

---Channel `economy:money`: a wallet changes.
---@class realtime.event.Money: realtime.event.Target
---@field change integer negative if the player pays
---@field old integer
---@field new integer

---Channel `economy:transfer`: a player gives money to another. Both also have an `economy:money`.
---@class realtime.event.Transfer: realtime.event.Adapted
---@field from string
---@field from_steamid64? string
---@field to string
---@field to_steamid64? string
---@field amount integer

---Channel `economy:drop`: a player drops money.
---@class realtime.event.Drop: realtime.event.Target
---@field amount integer

---Channel `roleplay:release`.
---@class realtime.event.Release: realtime.event.Target
---@field officer? string name of the player who did it
---@field officer_steamid64? string

---Channel `roleplay:arrest`.
---@class realtime.event.Arrest: realtime.event.Release
---@field duration integer seconds

---Channel `roleplay:job`.
---@class realtime.event.Job: realtime.event.Target
---@field old string
---@field new string
