-- The game's hook library. Hooks run in the order they were added; the first that returns something ends the call.
-- Does not protect hooks from each other: the engine's call as a whole is protected, as in the game.

local H = debug.getregistry().host
hook = {}

-- Event -> id -> function, for hook.GetTable; event -> list of ids in order. Lists are replaced, never changed, so a
-- running call keeps its own.
local functions, orders = {}, {}

local function without(order, id)
    local out = {}
    for _, other in ipairs(order or {}) do
        if other ~= id then out[#out + 1] = other end
    end
    return out
end

function hook.GetTable() return functions end

function hook.Add(event, id, fn)
    if not isstring(event) then ErrorNoHaltWithStack("bad argument #1 to 'Add' (string expected, got " .. type(event) .. ")") return end
    if not isfunction(fn) then ErrorNoHaltWithStack("bad argument #3 to 'Add' (function expected, got " .. type(fn) .. ")") return end
    if id == nil or isnumber(id) or isbool(id) or isfunction(id) or not (isstring(id) or id.IsValid) then
        ErrorNoHaltWithStack("bad argument #2 to 'Add' (string expected, got " .. type(id) .. ")")
        return
    end
    functions[event] = functions[event] or {}
    if functions[event][id] == nil then
        local order = without(orders[event], id)
        order[#order + 1] = id
        orders[event] = order
    end
    functions[event][id] = fn
end

function hook.Remove(event, id)
    if not functions[event] or functions[event][id] == nil then return end
    functions[event][id] = nil
    orders[event] = without(orders[event], id)
end

function hook.Call(event, gamemode, ...)
    local order = orders[event]
    if order then
        local of_event = functions[event]
        for i = 1, #order do
            local id = order[i]
            local fn = of_event[id]
            if fn then
                local a, b, c, d, e, f
                if H.type(id) == "string" then
                    a, b, c, d, e, f = fn(...)
                elseif IsValid(id) then
                    a, b, c, d, e, f = fn(id, ...)
                else
                    hook.Remove(event, id)
                end
                if a ~= nil then return a, b, c, d, e, f end
            end
        end
    end
    local own = gamemode and gamemode[event]
    if own then return own(gamemode, ...) end
end

function hook.Run(event, ...) return hook.Call(event, GAMEMODE, ...) end

-- A hook as the engine runs it.
function H.run_hook(event, ...)
    if orders[event] or GAMEMODE[event] then H.protect(hook.Run, event, ...) end
end
