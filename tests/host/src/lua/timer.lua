-- The game's timers, on CurTime. A hibernating server runs only those of timer.Create with delay 0.
-- A timer whose function raises an error is removed, as in the game.

local H = debug.getregistry().host
timer = {}

-- All timers in the order of their creation, and those with a name.
local all, named = {}, {}

local function add(name, delay, reps, fn)
    local it = { name = name, delay = delay, reps = reps, fn = fn, at = H.cur_time + delay, left = nil, alive = true }
    all[#all + 1] = it
    return it
end

local function check(caller, number, kind, value, test)
    if not test(value) then error(string.format("bad argument #%d to '%s' (%s expected, got %s)", number, caller, kind, type(value)), 3) end
end

function timer.Create(name, delay, reps, fn)
    check("Create", 1, "string", name, isstring)
    check("Create", 2, "number", delay, isnumber)
    check("Create", 3, "number", reps, isnumber)
    check("Create", 4, "function", fn, isfunction)
    timer.Remove(name)
    named[name] = add(name, math.max(delay, 0), reps, fn)
end

function timer.Simple(delay, fn)
    check("Simple", 1, "number", delay, isnumber)
    check("Simple", 2, "function", fn, isfunction)
    add(nil, math.max(delay, 0), 1, fn)
end

local function drop(it)
    it.alive = false
    if it.name and named[it.name] == it then named[it.name] = nil end
end

function timer.Remove(name) if named[name] then drop(named[name]) end end
timer.Destroy = timer.Remove
function timer.Exists(name) return named[name] ~= nil end

function timer.Adjust(name, delay, reps, fn)
    local it = named[name]
    if not it then return false end
    it.delay, it.reps, it.fn = math.max(delay, 0), reps or it.reps, fn or it.fn
    it.at = H.cur_time + it.delay
    if it.left then it.left = it.delay end
    return true
end

-- A paused timer keeps its remaining time in `left`; a stopped one keeps its whole delay there.
local function pause(it, left)
    if not it or it.left then return false end
    it.left = left or it.at - H.cur_time
    return true
end
function timer.Pause(name) return pause(named[name]) end
function timer.Stop(name) return pause(named[name], named[name] and named[name].delay) end
function timer.UnPause(name)
    local it = named[name]
    if not it or not it.left then return false end
    it.at, it.left = H.cur_time + it.left, nil
    return true
end
function timer.Toggle(name)
    if named[name] and named[name].left then return timer.UnPause(name) end
    return timer.Pause(name)
end
function timer.Start(name)
    local it = named[name]
    if not it then return false end
    it.at, it.left = H.cur_time + it.delay, nil
    return true
end
function timer.TimeLeft(name)
    local it = named[name]
    if it then return it.left and -it.left or it.at - H.cur_time end
end
function timer.RepsLeft(name) return named[name] and named[name].reps end
function timer.Check() end

local function fire(it)
    it.at = H.cur_time + it.delay
    if it.reps > 0 then
        it.reps = it.reps - 1
        if it.reps == 0 then drop(it) end
    end
    if H.protect(it.fn) then return end
    drop(it)
    local info = debug.getinfo(it.fn, "S")
    MsgN(string.format("Timer Failed! [%s][@%s (line %d)]", it.name or "Simple", info.short_src, info.linedefined))
end

function H.run_timers(hibernating)
    local count, now = #all, H.cur_time
    for i = 1, count do
        local it = all[i]
        -- Half a tick of slack for the sum of many small numbers.
        if it.alive and not it.left and it.at <= now + 1e-6 and (not hibernating or (it.name and it.delay == 0)) then fire(it) end
    end
    -- Dead timers are removed; new ones stay behind the others.
    local kept = 0
    for i = 1, #all do
        local it = all[i]
        if it.alive then
            kept = kept + 1
            all[kept] = it
        end
    end
    for i = #all, kept + 1, -1 do all[i] = nil end
end
