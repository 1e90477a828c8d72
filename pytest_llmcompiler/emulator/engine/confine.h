/* What a child of the engine gives up. */
#ifndef CONFINE_H
#define CONFINE_H

void give_up_system_calls(void);

#endif
